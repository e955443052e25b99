// Files for tests.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

namespace fcsa::testing {

// Makes the parent folders too; returns the path.
inline std::filesystem::path write_file(const std::filesystem::path& path, const std::string& content) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

}  // namespace fcsa::testing
