// Who may include whom: docs/architecture.md says it, this test holds the sources to it.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace fcsa {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

struct Rules {
  std::map<std::string, Names> rooms;    // room -> what it may include
  std::map<std::string, Names> foreign;  // header of another project, or folder of them -> rooms
};

std::string text_of(const fs::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

// What stands between backquotes.
Names names_in(const std::string& cell) {
  static const std::regex kName("`([^`]+)`");
  Names names;
  for (std::sregex_iterator found(cell.begin(), cell.end(), kName), end; found != end; ++found)
    names.push_back((*found)[1]);
  return names;
}

Names cells_of(const std::string& line) {
  Names cells;
  std::istringstream rest(line);
  std::string cell;
  std::getline(rest, cell, '|');
  while (std::getline(rest, cell, '|')) cells.push_back(cell);
  return cells;
}

Rules rules_in(const std::string& page) {
  Rules rules;
  std::istringstream lines(page);
  std::string line;
  while (std::getline(lines, line)) {
    const auto cells = cells_of(line);
    if (cells.size() == 4)
      for (const auto& room : names_in(cells[0])) rules.rooms[room] = names_in(cells[3]);
    if (cells.size() == 2)
      for (const auto& header : names_in(cells[0])) rules.foreign[header] = names_in(cells[1]);
  }
  return rules;
}

// The innermost room that the file lies in; none outside of them all.
std::string room_of(const Rules& rules, const std::string& file) {
  std::string room;
  for (const auto& [name, allowed] : rules.rooms)
    if (file.starts_with(name + "/") && name.size() > room.size()) room = name;
  return room;
}

bool stands_for(const std::string& pattern, const std::string& room) {
  if (!pattern.ends_with("/*")) return pattern == room;
  const std::string whole = pattern.substr(0, pattern.size() - 2);
  return room == whole || room.starts_with(whole + "/");
}

// Empty where the include is allowed.
std::string objection(const Rules& rules, const std::string& file, const std::string& included) {
  const std::string from = room_of(rules, file), to = room_of(rules, included);
  for (const auto& [header, rooms] : rules.foreign) {
    const bool meant = header.ends_with("/") ? included.starts_with(header) : included == header;
    if (meant && std::find(rooms.begin(), rooms.end(), from) == rooms.end())
      return fmt::format("{} includes {}, which belongs to {} alone", file, included, rooms.front());
  }
  if (to.empty() || to == from) return {};
  for (const auto& pattern : rules.rooms.at(from))
    if (stands_for(pattern, to)) return {};
  return fmt::format("{} includes {}, which {} may not (docs/architecture.md)", file, included, from);
}

Names sources_below(const fs::path& root, const std::string& folder) {
  static const Names kEndings{".h", ".cpp", ".cuh", ".cu"};
  Names files;
  for (const auto& entry : fs::recursive_directory_iterator(root / folder))
    if (std::find(kEndings.begin(), kEndings.end(), entry.path().extension()) != kEndings.end())
      files.push_back(fs::relative(entry.path(), root).string());
  return files;
}

Names included_by(const std::string& text) {
  static const std::regex kInclude("(^|\n)#include [<\"]([^>\"]+)[>\"]");
  Names headers;
  for (std::sregex_iterator found(text.begin(), text.end(), kInclude), end; found != end; ++found)
    headers.push_back((*found)[2]);
  return headers;
}

const fs::path kRoot = FCSA_TEST_SOURCES;

TEST(Architecture, EverySourceIncludesOnlyWhatItsRoomMay) {
  const Rules rules = rules_in(text_of(kRoot / "docs/architecture.md"));
  std::size_t includes = 0;
  for (const std::string top : {"kernels", "tuner", "runner", "reports", "library", "cli"})
    for (const auto& file : sources_below(kRoot, top)) {
      ASSERT_NE(room_of(rules, file), "") << file << " lies in no room of docs/architecture.md";
      for (const auto& header : included_by(text_of(kRoot / file))) {
        EXPECT_EQ(objection(rules, file, header), "");
        ++includes;
      }
    }
  EXPECT_GT(includes, 1000U) << "the sources were not read";
}

TEST(Architecture, EveryRoomThatIsNamedExists) {
  for (const auto& [room, allowed] : rules_in(text_of(kRoot / "docs/architecture.md")).rooms)
    EXPECT_TRUE(fs::is_directory(kRoot / room)) << room;
}

TEST(Architecture, AnIncludeUpwardsOrAcrossIsObjectedTo) {
  const Rules rules = rules_in(text_of(kRoot / "docs/architecture.md"));
  EXPECT_NE(objection(rules, "tuner/trials/store.cpp", "tuner/dispatch/dispatch.h"), "");
  EXPECT_NE(objection(rules, "library/plan.cpp", "tuner/search/tuning.h"), "");
  EXPECT_NE(objection(rules, "runner/worker/worker.cpp", "tuner/dispatch/dispatch.h"), "");
  EXPECT_NE(objection(rules, "kernels/mma/forward.cuh", "kernels/simt/tiles.cuh"), "");
  EXPECT_NE(objection(rules, "runner/worker/worker.cpp", "cuda.h"), "");
  EXPECT_NE(objection(rules, "cli/command_db.cpp", "SQLiteCpp/SQLiteCpp.h"), "");
  EXPECT_NE(objection(rules, "runner/worker/worker.cpp", "runner/cuda/driver.h"), "");
  EXPECT_EQ(objection(rules, "runner/inventory.cpp", "runner/cuda/driver.h"), "");
  EXPECT_EQ(objection(rules, "library/plan.cpp", "tuner/dispatch/dispatch.h"), "");
}

}  // namespace
}  // namespace fcsa
