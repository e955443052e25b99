#include "runner/shipped_data.h"

#include <algorithm>
#include <cstdlib>
#include <system_error>

#include "runner/process/dynamic_library.h"

namespace fcsa::runner {

namespace {

namespace fs = std::filesystem;

// Of what comes with this program; none where it isn't there.
std::optional<fs::path> shipped(const fs::path& name) {
  std::vector<fs::path> folders;
  if (const fs::path own = folder_of_this_code(); !own.empty())
    for (const auto& prefix : {own.parent_path(), own.parent_path().parent_path()})
      folders.push_back(prefix / "share" / "fcsa");
  folders.emplace_back(FCSA_DATA_FOLDER);
  for (const auto& folder : folders) {
    std::error_code ignored;
    if (fs::exists(folder / name, ignored)) return folder / name;
  }
  return std::nullopt;
}

}  // namespace

std::optional<fs::path> shipped_database() {
  if (const char* named = std::getenv("FCSA_TUNED_DATA"); named != nullptr)
    return *named != '\0' ? std::optional<fs::path>(named) : std::nullopt;
  return shipped("tuned.db");
}

std::optional<fs::path> shipped_workload(const std::string& name) {
  return shipped(fs::path("workloads") / (name + ".jsonl"));
}

std::vector<std::string> shipped_workloads() {
  std::vector<std::string> names;
  if (const auto folder = shipped("workloads"))
    for (const auto& file : fs::directory_iterator(*folder))
      if (file.path().extension() == ".jsonl") names.push_back(file.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace fcsa::runner
