#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "runner/cuda/driver.h"
#include "runner/cuda/nvrtc_library.h"

namespace fcsa::runner::cuda {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::vector<std::string> split_path(const std::string& list) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(':', begin), list.size());
    if (end > begin) parts.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// Folders in `parent` whose name starts with `prefix`, the highest name first.
std::vector<fs::path> subfolders(const fs::path& parent, const std::string& prefix) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(parent, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    const bool matches = entry->path().filename().string().starts_with(prefix);
    if (matches && entry->is_directory(ignored)) found.push_back(entry->path());
  }
  std::ranges::sort(found, std::greater<>());
  return found;
}

std::vector<fs::path> own_folders() {
  const fs::path folder = folder_of_this_code();
  if (folder.empty()) return {};
  return {folder, folder.parent_path() / "lib"};
}

std::vector<fs::path> toolkit_folders() {
  std::vector<fs::path> toolkits;
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const std::string value = environment(variable); !value.empty()) toolkits.emplace_back(value);
  }
  toolkits.emplace_back("/usr/local/cuda");
  const auto versioned = subfolders("/usr/local", "cuda-");
  toolkits.insert(toolkits.end(), versioned.begin(), versioned.end());
  std::vector<fs::path> folders;
  for (const auto& toolkit : toolkits) {
    folders.push_back(toolkit / "lib64");
    for (const auto& platform : subfolders(toolkit / "targets", "")) folders.push_back(platform / "lib");
  }
  return folders;
}

// Roots of Python installations ("/usr", a virtual environment), the active ones first.
std::vector<fs::path> python_prefixes() {
  std::vector<fs::path> prefixes;
  for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    if (const std::string value = environment(variable); !value.empty()) prefixes.emplace_back(value);
  }
  for (const auto& folder : split_path(environment("PATH"))) {
    std::error_code ignored;
    if (fs::exists(fs::path(folder) / "python3", ignored)) prefixes.push_back(fs::path(folder).parent_path());
  }
  if (const std::string home = environment("HOME"); !home.empty())
    prefixes.push_back(fs::path(home) / ".local");
  prefixes.emplace_back("/usr/local");
  prefixes.emplace_back("/usr");
  return prefixes;
}

std::vector<fs::path> package_folders() {
  std::vector<fs::path> folders;
  for (const auto& entry : split_path(environment("PYTHONPATH"))) folders.emplace_back(entry);
  for (const auto& prefix : python_prefixes()) {
    for (const auto& python : subfolders(prefix / "lib", "python3")) {
      folders.push_back(python / "site-packages");
      folders.push_back(python / "dist-packages");
    }
  }
  return folders;
}

// Where the wheels of CUDA 13 ("nvidia/cu13") and of CUDA 12 ("nvidia/cuda_nvrtc") put the library.
std::vector<fs::path> wheel_folders(const fs::path& packages) {
  std::vector<fs::path> folders;
  for (const auto& folder : subfolders(packages / "nvidia", "cu1")) folders.push_back(folder / "lib");
  folders.push_back(packages / "nvidia" / "cuda_nvrtc" / "lib");
  return folders;
}

}  // namespace

NvrtcSearch default_nvrtc_search() {
  NvrtcSearch search;
  search.override_path = environment("FCSA_NVRTC");
  search.driver_version = installed_driver_version();
  const auto add = [&](const fs::path& folder) {
    std::error_code ignored;
    const std::string name = folder.string();
    if (fs::is_directory(folder, ignored) &&
        std::ranges::find(search.folders, name) == search.folders.end()) {
      search.folders.push_back(name);
    }
  };
  std::ranges::for_each(own_folders(), add);
  search.folders.emplace_back();
  std::ranges::for_each(toolkit_folders(), add);
  // Installed by pip, as lib/ of a package: other packages lie beside that one.
  if (const fs::path own = folder_of_this_code(); !own.empty())
    std::ranges::for_each(wheel_folders(own.parent_path().parent_path()), add);
  for (const auto& packages : package_folders()) std::ranges::for_each(wheel_folders(packages), add);
#ifdef FCSA_CUDA_WHEELS_DIR
  std::ranges::for_each(wheel_folders(FCSA_CUDA_WHEELS_DIR), add);
#endif
  return search;
}

}  // namespace fcsa::runner::cuda
