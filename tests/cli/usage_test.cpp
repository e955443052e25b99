// Bad input to the program: exit status 2, and a message that says what was wrong.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/cli/program.h"

namespace fcsa::cli {
namespace {

void expect_usage_error(const std::vector<std::string>& arguments, const std::string& message) {
  const ProgramResult result = run_fcsa(arguments);
  EXPECT_EQ(result.status, 2) << arguments[0] << ": " << result.err;
  EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
}

void expect_failure(const std::vector<std::string>& arguments, const std::string& message) {
  const ProgramResult result = run_fcsa(arguments);
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
}

TEST(Usage, ASubcommandIsRequiredAndHelpLists) {
  EXPECT_EQ(run_fcsa({}).status, 2);
  const ProgramResult help = run_fcsa({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const char* command :
       {"devices", "tune", "compile", "verify", "bench", "explain", "emit", "report", "replay", "db"})
    EXPECT_NE(help.out.find(command), std::string::npos) << command;
  EXPECT_EQ(run_fcsa({"frobnicate"}).status, 2);
}

TEST(Usage, UnknownDtypeHeadDimAndDeviceAreNamed) {
  expect_usage_error({"tune", "--device", "cpu", "--dtype", "fp8"}, "'fp8' is not a dtype");
  expect_usage_error({"tune", "--device", "cpu", "--head-dim", "63"}, "head_dim is 63");
  expect_usage_error({"tune", "--device", "tpu"}, "'tpu' is not auto, cpu, cuda or cuda:N");
  expect_usage_error({"tune", "--device", "cuda:x"}, "'x' is not a whole number");
  expect_usage_error({"tune", "--device", "cpu", "--family", "simt"}, "no kernel serves");
}

TEST(Usage, MalformedListsAndEmptyRangesAreNamed) {
  expect_usage_error({"tune", "--device", "cpu", "--seq", "64,,128"}, "'64,,128' is not a list");
  expect_usage_error({"tune", "--device", "cpu", "--seq", "128:64"}, "the range 128:64 is empty");
  expect_usage_error({"verify", "--device", "cpu", "--nq", "4"}, "--nq and --nk are given together");
  expect_usage_error({"compile", "--arch", "sm_1"}, "sm_1");
}

TEST(Usage, PairsExcludeTheGridAndADatabaseAndTakeAConfigurationThatIsThere) {
  expect_usage_error({"verify", "--device", "cpu", "--pairs", "--seq", "64"}, "--pairs");
  expect_usage_error({"verify", "--device", "cpu", "--pairs", "--db", "t.db"}, "--pairs");
  expect_usage_error({"verify", "--device", "cpu", "--pairs", "--config", "cpu.forward{nope=1}"}, "nope");
  expect_usage_error({"verify", "--device", "cpu", "--pairs", "--config", "simt.forward{}"},
                     "cpu.forward is not simt.forward");
  expect_usage_error({"verify", "--device", "cpu", "--db", "t.db", "--config", "cpu.forward{}"}, "--config");
  expect_usage_error({"verify", "--device", "cpu", "--pairs", "--op", "sideways"},
                     "'sideways' is not an operation");
}

TEST(Usage, NoCommandTakesANegativeNumberOfJobs) {
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"bench"}, {"compile"}, {"db", "codes"}, {"explain"}, {"tune"}, {"verify"}}) {
    auto arguments = command;
    arguments.insert(arguments.end(), {"--jobs", "-1"});
    expect_usage_error(arguments, "--jobs");
  }
}

TEST(Usage, UnknownStrategiesFamiliesAndFormatsAreNamed) {
  const TemporaryFolder folder;
  const std::string db = folder / "t.db";
  expect_usage_error({"tune", "--device", "cpu", "--seq", "32", "--strategy", "guess", "--db", db}, "guess");
  expect_usage_error({"tune", "--device", "cpu", "--seq", "32", "--family", "magic", "--db", db}, "magic");
  expect_usage_error({"tune", "--device", "cpu", "--budget", "soon"}, "'soon' is not a duration");
  expect_usage_error({"tune", "--device", "cpu", "--cache", "tepid"}, "'tepid'");
  expect_usage_error({"tune", "--device", "cpu", "--probes", "maybe"}, "'maybe' is not yes, no or only");
}

TEST(Usage, ADatabaseThatIsNotOneIsRefusedAndLeftAlone) {
  const TemporaryFolder folder;
  const std::string file = folder / "not.db";
  const std::string text(8192, 'x');
  std::ofstream(file) << text;
  expect_failure({"db", "--db", file, "info"}, file);
  expect_failure({"tune", "--device", "cpu", "--seq", "32", "--db", file}, file);
  EXPECT_EQ(read_file(file), text);
}

TEST(Usage, PeaksThatCannotBeReadAreNamed) {
  const TemporaryFolder folder;
  std::ofstream(folder / "peaks.json") << R"([{"device": "x", "bytes_per_second": "fast"}])";
  expect_usage_error({"report", "--db", folder / "t.db", "--peaks", folder / "none.json"}, "none.json");
  expect_usage_error({"report", "--db", folder / "t.db", "--peaks", folder / "peaks.json"},
                     "peaks.json: device 1");
}

TEST(Usage, MissingAndUnwritablePathsAreNamed) {
  const TemporaryFolder folder;
  expect_failure({"report", "--db", folder / "none.db", "--out", folder / "r"}, "none.db");
  expect_failure({"emit", "--db", folder / "none.db"}, "none.db");
  expect_failure({"tune", "--device", "cpu", "--seq", "32", "--db", "/proc/t.db"}, "/proc/t.db");
}

TEST(Usage, ReplayNamesWhatIsWrongWithAStrategyOrAFile) {
  const auto folder = std::filesystem::temp_directory_path() / "usage_test_replay";
  std::filesystem::create_directories(folder);
  const std::string file = folder / "space.json";
  std::ofstream(file) << R"({"results":[
    {"configuration":{"a":1},"measurements":[{"name":"time","value":2}]},
    {"configuration":{"a":2},"measurements":[{"name":"time","value":1}]}]})";
  expect_usage_error({"replay", file, "--strategy", "magic"}, "unknown strategy 'magic'; use one of: auto,");
  expect_usage_error({"replay", file, "--pending", "3"}, "3 pending, but it has only 2 configurations");
  expect_failure({"replay", (folder / "none.json").string()}, "none.json: can't be opened");
  const ProgramResult result = run_fcsa({"replay", file, "--seeds", "2"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("space.json"), std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST(Usage, FilesOfPeersThatAreNoneAreNamedByLine) {
  const TemporaryFolder folder;
  const std::string file = folder / "compare.csv";
  expect_usage_error({"report", "--peers", file}, "--peers: cannot read " + file + ": No such file");
  std::ofstream(file) << "peer,ms\nfa3,1\n";
  expect_usage_error({"report", "--peers", file},
                     "--peers: " + file + ":1: there must be one column 'normalisation'");
}

}  // namespace
}  // namespace fcsa::cli
