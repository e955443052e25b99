#include "tuner/search/recorded_space.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <iterator>

#include "tests/tuner/search/recorded_files.h"

namespace fcsa::tuner {
namespace {

using testing::t4_text;
using testing::T4Options;
using testing::write_gzip;
using testing::write_text;

class RecordedSpaceTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path file(const std::string& name) const { return folder_ / name; }
  static std::string refusal(const std::filesystem::path& file) {
    try {
      read_recorded_spaces(file);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  }

 private:
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / fmt::format("recorded_space_test.{}", ::getpid());
};

TEST_F(RecordedSpaceTest, ReadsTimesFailuresAndWhatTrialsTook) {
  const auto spaces = read_recorded_spaces(write_text(file("toy.json"), t4_text()));
  ASSERT_EQ(spaces.size(), 1u);
  const auto& recorded = spaces[0];
  EXPECT_EQ(recorded.name, "toy.json");
  EXPECT_EQ(recorded.space.size(), 360u);
  ASSERT_EQ(recorded.space.parameters().size(), 3u);
  EXPECT_EQ(recorded.space.parameters()[0].values.front(), 16);
  const auto position = recorded.space.find({"toy.json", {{"block", 64}, {"tile", 5}, {"unroll", 2}}});
  ASSERT_TRUE(position);
  EXPECT_NEAR(*recorded.times_ms[*position], testing::t4_time_ms(64, 5, 2), 1e-9);
  EXPECT_DOUBLE_EQ(recorded.compile_s[*position], 0.55);
  EXPECT_DOUBLE_EQ(recorded.measure_s[*position], 0.04);
  const auto failed = recorded.space.find({"toy.json", {{"block", 192}, {"tile", 10}, {"unroll", 0}}});
  EXPECT_FALSE(recorded.times_ms[*failed]);
  for (const auto& time : recorded.times_ms)
    EXPECT_LE(recorded.optimum_ms, time.value_or(recorded.optimum_ms));
}

TEST_F(RecordedSpaceTest, ReadsGzipLikePlainText) {
  const auto plain = read_recorded_spaces(write_text(file("a.json"), t4_text()));
  const auto packed = read_recorded_spaces(write_gzip(file("a.json.gz"), t4_text()));
  EXPECT_EQ(packed[0].times_ms, plain[0].times_ms);
}

TEST_F(RecordedSpaceTest, NumbersValuesThatAreNoIntegers) {
  const std::string text = R"({"results":[
    {"configuration":{"p":0.5,"order":"row","v":true},"measurements":[{"name":"time","value":2}]},
    {"configuration":{"p":0.25,"order":"column","v":false},"measurements":[{"name":"time","value":1}]}]})";
  const auto recorded = read_recorded_spaces(write_text(file("a.json"), text));
  for (const auto& parameter : recorded[0].space.parameters())
    EXPECT_EQ(parameter.values, (std::vector<int>{0, 1})) << parameter.name;
  EXPECT_EQ(recorded[0].optimum_ms, 1);
}

TEST_F(RecordedSpaceTest, RefusesADamagedOrShortenedGzip) {
  const auto whole = write_gzip(file("a.json.gz"), t4_text());
  std::ifstream stream(whole, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  const auto shorter = write_text(file("short.json.gz"), bytes.substr(0, bytes.size() / 2));
  EXPECT_NE(refusal(shorter).find("short.json.gz: damaged or cut off"), std::string::npos)
      << refusal(shorter);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x55);
  const auto damaged = write_text(file("bad.json.gz"), bytes);
  EXPECT_NE(refusal(damaged).find("bad.json.gz: damaged or cut off"), std::string::npos) << refusal(damaged);
}

TEST_F(RecordedSpaceTest, RefusesASpaceWithoutAnOptimumOrAChoice) {
  T4Options all_fail;
  all_fail.fails = [](int, int) { return true; };
  EXPECT_NE(refusal(write_text(file("a.json"), t4_text(all_fail))).find("no optimum to search for"),
            std::string::npos);
  const T4Options one{.block_sizes = 1, .tiles = 1, .unrolls = 1};
  EXPECT_NE(refusal(write_text(file("b.json"), t4_text(one))).find("it has one configuration"),
            std::string::npos);
}

TEST_F(RecordedSpaceTest, SaysWhatIsWrongWithAFileThatIsNoRecordedSpace) {
  EXPECT_NE(refusal(file("missing.json")).find("can't be opened"), std::string::npos);
  EXPECT_NE(refusal(write_text(file("a.json"), "{\"results\": [")).find("not JSON, or cut off"),
            std::string::npos);
  EXPECT_NE(refusal(write_text(file("b.json"), "{}")).find("no T4 file: it has no list \"results\""),
            std::string::npos);
  EXPECT_NE(refusal(write_text(file("c.json"), R"({"results":[]})")).find("has no configuration"),
            std::string::npos);
  EXPECT_NE(refusal(write_text(file("d.json"), R"({"results":[{"time":1}]})")).find("no T4 file"),
            std::string::npos);
  const std::string different = R"({"results":[{"configuration":{"a":1},"measurements":[]},
    {"configuration":{"b":1},"measurements":[]}]})";
  EXPECT_NE(refusal(write_text(file("e.json"), different)).find("e.json: "), std::string::npos);
}

}  // namespace
}  // namespace fcsa::tuner
