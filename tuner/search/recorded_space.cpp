#include "tuner/search/recorded_space.h"

#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <string_view>

#include "tuner/search/recorded_database.h"
#include "tuner/search/recorded_t4.h"

namespace fcsa::tuner {
namespace {

// Plain files too: zlib passes through what has no gzip header.
std::string read_file(const std::filesystem::path& file) {
  const std::unique_ptr<gzFile_s, decltype(&gzclose)> opened(gzopen(file.c_str(), "rb"), &gzclose);
  if (!opened) throw std::runtime_error(fmt::format("{}: can't be opened", file.string()));
  std::string text;
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const int count = gzread(opened.get(), buffer.data(), buffer.size());
    if (count > 0) text.append(buffer.data(), static_cast<std::size_t>(count));
    if (count == static_cast<int>(buffer.size())) continue;
    int error = Z_OK;
    const char* message = gzerror(opened.get(), &error);
    if (error != Z_OK && error != Z_STREAM_END)
      throw std::runtime_error(fmt::format("{}: damaged or cut off: {}", file.string(), message));
    return text;
  }
}

}  // namespace

std::vector<RecordedSpace> read_recorded_spaces(const std::filesystem::path& file) {
  constexpr std::string_view kDatabase = "SQLite format 3";
  const std::string text = read_file(file);
  std::vector<RecordedSpace> spaces;
  if (text.starts_with(kDatabase)) {
    spaces = spaces_from_database(file);
  } else {
    spaces.push_back(space_from_t4(file.filename().string(), text));
  }
  for (auto& recorded : spaces) {
    for (const auto& time : recorded.times_ms)
      if (time && (recorded.optimum_ms == 0 || *time < recorded.optimum_ms)) recorded.optimum_ms = *time;
    if (recorded.optimum_ms == 0)
      throw std::runtime_error(fmt::format(
          "{}: none of its configurations succeeded, so there is no optimum to search for", recorded.name));
    if (recorded.space.size() < 2)
      throw std::runtime_error(
          fmt::format("{}: it has one configuration, so there is nothing to search", recorded.name));
  }
  return spaces;
}

}  // namespace fcsa::tuner
