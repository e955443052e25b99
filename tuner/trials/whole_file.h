// Files that appear whole or not at all.
#pragma once

#include <filesystem>
#include <string_view>

namespace fcsa::tuner {

// Writes under a name that no other writer has, in the same folder, and renames. When that fails, what stood
// at `path` still does, and nothing else is left. Readable by all. Throws std::system_error with the cause.
void write_whole_file(const std::filesystem::path& path, std::string_view text);

}  // namespace fcsa::tuner
