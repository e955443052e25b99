#include "runner/shipped_data.h"

#include <cstdlib>
#include <system_error>
#include <vector>

#include "runner/process/dynamic_library.h"

namespace fcsa::runner {

std::optional<std::filesystem::path> shipped_database() {
  namespace fs = std::filesystem;
  if (const char* named = std::getenv("FCSA_TUNED_DATA"); named != nullptr)
    return *named != '\0' ? std::optional<fs::path>(named) : std::nullopt;
  std::vector<fs::path> folders;
  if (const fs::path own = folder_of_this_code(); !own.empty())
    for (const auto& prefix : {own.parent_path(), own.parent_path().parent_path()})
      folders.push_back(prefix / "share" / "fcsa");
  folders.emplace_back(FCSA_DATA_FOLDER);
  for (const auto& folder : folders) {
    std::error_code ignored;
    if (fs::is_regular_file(folder / "tuned.db", ignored)) return folder / "tuned.db";
  }
  return std::nullopt;
}

}  // namespace fcsa::runner
