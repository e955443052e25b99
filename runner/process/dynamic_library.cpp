#include "runner/process/dynamic_library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>
#include <sys/statvfs.h>

#include <stdexcept>
#include <string_view>
#include <utility>

namespace fcsa::runner {
namespace {

std::string loader_message() {
  const char* message = dlerror();
  return message != nullptr ? message : "unknown error of the dynamic loader";
}

}  // namespace

DynamicLibrary::DynamicLibrary(void* handle, std::string name) : handle_(handle), name_(std::move(name)) {}

DynamicLibrary DynamicLibrary::open(const std::string& name) {
  return open(name, 0);
}

DynamicLibrary DynamicLibrary::open_for_good(const std::string& name) {
  return open(name, RTLD_NODELETE);
}

DynamicLibrary DynamicLibrary::open_first(const std::vector<std::string>& names) {
  std::string problems;
  for (const auto& name : names) {
    try {
      return open_for_good(name);
    } catch (const std::runtime_error& error) {
      const std::string_view what = error.what();
      const bool is_absent = what.find("No such file or directory") != std::string_view::npos;
      problems +=
          fmt::format("{}{}", problems.empty() ? "" : ", ", is_absent ? std::string_view(name) : what);
    }
  }
  throw std::runtime_error(fmt::format("looked for {}", problems));
}

DynamicLibrary DynamicLibrary::open(const std::string& name, int extra_flags) {
  void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | extra_flags);
  if (handle == nullptr) throw std::runtime_error(fmt::format("cannot load {}: {}", name, loader_message()));
  return {handle, name};
}

std::optional<DynamicLibrary> DynamicLibrary::open_if_loaded(const std::string& name) {
  void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  if (handle == nullptr) return std::nullopt;
  return DynamicLibrary(handle, name);
}

DynamicLibrary::~DynamicLibrary() {
  if (handle_ != nullptr) dlclose(handle_);
}

DynamicLibrary::DynamicLibrary(DynamicLibrary&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)), name_(std::move(other.name_)) {}

DynamicLibrary& DynamicLibrary::operator=(DynamicLibrary&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(name_, other.name_);
  return *this;
}

void* DynamicLibrary::find(const std::string& symbol) const {
  return dlsym(handle_, symbol.c_str());
}

void* DynamicLibrary::get(const std::string& symbol) const {
  void* address = find(symbol);
  if (address == nullptr) throw std::runtime_error(fmt::format("{} has no symbol '{}'", name_, symbol));
  return address;
}

std::filesystem::path DynamicLibrary::path_of(const std::string& symbol) const {
  void* address = find(symbol);
  Dl_info where{};
  const bool known = address != nullptr && dladdr(address, &where) != 0 && where.dli_fname != nullptr;
  return known ? where.dli_fname : name_;
}

bool mounted_noexec(const std::filesystem::path& path) {
  struct statvfs about {};
  return ::statvfs(path.c_str(), &about) == 0 && (about.f_flag & ST_NOEXEC) != 0;
}

std::filesystem::path folder_of_this_code() {
  Dl_info found{};
  void* map = nullptr;
  if (dladdr1(reinterpret_cast<void*>(&folder_of_this_code), &found, &map, RTLD_DL_LINKMAP) == 0) return {};
  const std::string_view name = static_cast<const link_map*>(map)->l_name;
  std::error_code error;  // the program's own name in that list is empty
  const auto file = std::filesystem::canonical(name.empty() ? "/proc/self/exe" : name, error);
  return error ? std::filesystem::path() : file.parent_path();
}

}  // namespace fcsa::runner
