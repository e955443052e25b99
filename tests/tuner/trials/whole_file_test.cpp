#include "tuner/trials/whole_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace fcsa::tuner {
namespace {

namespace fs = std::filesystem;

class WholeFileTest : public ::testing::Test {
 protected:
  WholeFileTest() { fs::create_directories(folder_); }
  ~WholeFileTest() override { fs::remove_all(folder_); }

  std::vector<std::string> names() const {
    std::vector<std::string> list;
    for (const auto& entry : fs::directory_iterator(folder_)) list.push_back(entry.path().filename());
    return list;
  }
  std::string text() const {
    std::ifstream stream(file_, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  fs::path folder_ = fs::path(::testing::TempDir()) / ("whole_file_test." + std::to_string(::getpid()));
  fs::path file_ = folder_ / "file";
};

TEST_F(WholeFileTest, ReplacesWhatStoodThereAndLeavesNothingElse) {
  write_whole_file(file_, "first, which is longer");
  write_whole_file(file_, "second");
  EXPECT_EQ(text(), "second");
  EXPECT_EQ(names(), std::vector<std::string>{"file"});
}

TEST_F(WholeFileTest, OfSeveralWritersIsThatOfOne) {
  const auto text_of = [](char c) { return std::string(1 << 20, c); };
  std::vector<std::thread> writers;
  for (const char c : {'a', 'b', 'c', 'd'})
    writers.emplace_back([&, c] {
      for (int i = 0; i < 5; ++i) write_whole_file(file_, text_of(c));
    });
  for (auto& writer : writers) writer.join();
  EXPECT_EQ(text(), text_of(text().at(0)));
  EXPECT_EQ(names(), std::vector<std::string>{"file"});
}

TEST_F(WholeFileTest, ThatCanNotBeWrittenSaysWhyAndLeavesNothing) {
  try {
    write_whole_file(folder_ / "none" / "file", "text");
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
  }
  fs::create_directories(file_ / "in the way");
  EXPECT_THROW(write_whole_file(file_, "text"), std::system_error);
  EXPECT_EQ(names(), std::vector<std::string>{"file"});
}

}  // namespace
}  // namespace fcsa::tuner
