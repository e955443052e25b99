#include "runner/cuda/nvrtc_library.h"

#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <set>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace fcsa::runner::cuda {
namespace {

namespace fs = std::filesystem;

constexpr NvrtcVersion kOldest{12, 4};
constexpr const char* kHowToGetIt =
    "pip install nvidia-cuda-nvrtc, or install the CUDA toolkit, or set FCSA_NVRTC to libnvrtc.so or its "
    "folder";

template <typename Function>
void load(const DynamicLibrary& library, Function& function, const char* name) {
  function = reinterpret_cast<Function>(library.get(name));
}

// Files called libnvrtc.so* in a folder, the newest major version first.
std::vector<std::string> libraries_in(const fs::path& folder) {
  std::set<std::string, std::greater<>> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (name.starts_with("libnvrtc.so")) names.insert(name);
  }
  std::vector<std::string> paths;
  paths.reserve(names.size());
  for (const auto& name : names) paths.push_back(folder / name);
  return paths;
}

std::vector<std::string> candidates_in(const std::string& folder) {
  if (folder.empty()) return {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
  return libraries_in(folder);
}

}  // namespace

std::string NvrtcVersion::text() const {
  return fmt::format("NVRTC {}.{}", major, minor);
}

std::string refusal(const NvrtcVersion& version, int driver_version) {
  if (std::pair(version.major, version.minor) < std::pair(kOldest.major, kOldest.minor)) {
    return fmt::format("{} is older than 12.4", version.text());
  }
  if (driver_version != 0 && version.major > driver_version / 1000) {
    return fmt::format("{} is newer than the driver, which supports CUDA {}.{}", version.text(),
                       driver_version / 1000, driver_version % 1000 / 10);
  }
  return {};
}

NvrtcLibrary::NvrtcLibrary(DynamicLibrary library) : library_(std::move(library)) {
  path_ = library_.path_of("nvrtcVersion");
  const auto get_version = reinterpret_cast<decltype(&::nvrtcVersion)>(library_.get("nvrtcVersion"));
  get_version(&version_.major, &version_.minor);
  load(library_, create_program, "nvrtcCreateProgram");
  load(library_, destroy_program, "nvrtcDestroyProgram");
  load(library_, add_name_expression, "nvrtcAddNameExpression");
  load(library_, compile_program, "nvrtcCompileProgram");
  load(library_, get_program_log_size, "nvrtcGetProgramLogSize");
  load(library_, get_program_log, "nvrtcGetProgramLog");
  load(library_, get_lowered_name, "nvrtcGetLoweredName");
  load(library_, get_cubin_size, "nvrtcGetCUBINSize");
  load(library_, get_cubin, "nvrtcGetCUBIN");
  load(library_, get_error_string, "nvrtcGetErrorString");
  load_builtins();
}

// NVRTC loads its second library by bare name, which fails where it came from a folder that the loader
// doesn't know (pip's); once that is in the process, the bare name is enough.
void NvrtcLibrary::load_builtins() {
  const auto name = fmt::format("libnvrtc-builtins.so.{}.{}", version_.major, version_.minor);
  const fs::path beside = fs::path(path_).parent_path() / name;
  std::error_code ignored;
  if (fs::exists(beside, ignored)) builtins_.push_back(DynamicLibrary::open_for_good(beside));
}

namespace {

// Tries candidates one by one and remembers why each was turned down.
class Attempts {
 public:
  explicit Attempts(int driver_version) : driver_version_(driver_version) {}

  std::optional<NvrtcLibrary> file(const std::string& name) {
    try {
      return accept(DynamicLibrary::open_for_good(name));
    } catch (const std::runtime_error& error) {
      const std::string_view what = error.what();
      const bool is_absent = !name.starts_with('/') && what.find("No such file") != std::string_view::npos;
      if (!is_absent) problems_ += fmt::format("; {}", what);
      return std::nullopt;
    }
  }

  std::optional<NvrtcLibrary> accept(DynamicLibrary library) {
    NvrtcLibrary nvrtc(std::move(library));
    const std::string reason = refusal(nvrtc.version(), driver_version_);
    if (reason.empty()) return nvrtc;
    problems_ += fmt::format("; {}: {}", nvrtc.path(), reason);
    return std::nullopt;
  }

  const std::string& problems() const { return problems_; }

 private:
  int driver_version_;
  std::string problems_;
};

NvrtcLibrary find_override(const NvrtcSearch& search) {
  std::vector<std::string> names = {search.override_path};
  std::error_code ignored;
  if (fs::is_directory(search.override_path, ignored)) {
    names.clear();
    for (const char* subfolder : {"", "lib", "lib64"}) {
      for (auto& name : libraries_in(fs::path(search.override_path) / subfolder))
        names.push_back(std::move(name));
    }
  }
  Attempts attempts(search.driver_version);
  for (const auto& name : names) {
    if (auto usable = attempts.file(name)) return std::move(*usable);
  }
  throw std::runtime_error(
      fmt::format("NVRTC not found: FCSA_NVRTC is {}{}", search.override_path,
                  names.empty() ? "; there is no libnvrtc.so in it" : attempts.problems()));
}

}  // namespace

NvrtcLibrary NvrtcLibrary::find(const NvrtcSearch& search) {
  if (!search.override_path.empty()) return find_override(search);
  Attempts attempts(search.driver_version);
  for (const auto& name : candidates_in("")) {
    auto library = DynamicLibrary::open_if_loaded(name);
    if (!library) continue;
    if (auto usable = attempts.accept(std::move(*library))) return std::move(*usable);
  }
  std::string looked_in = "the loader's path";
  for (const auto& folder : search.folders) {
    if (!folder.empty()) looked_in += ", " + folder;
    for (const auto& name : candidates_in(folder)) {
      if (auto usable = attempts.file(name)) return std::move(*usable);
    }
  }
  throw std::runtime_error(
      fmt::format("NVRTC not found: {}; looked in {}{}", kHowToGetIt, looked_in, attempts.problems()));
}

}  // namespace fcsa::runner::cuda
