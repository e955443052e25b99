// `fcsa bench` on the CPU device with the kernels that are built in: nothing is compiled.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/cli/program.h"

namespace fcsa::cli {
namespace {

const std::string kName = "forward/f32/d32/b1/h2/kv2/nq64/nk64/bhnd/scale:8/";

class BenchTest : public testing::Test {
 protected:
  // A command on one small problem.
  static std::vector<std::string> command(const std::string& name, const std::vector<std::string>& more,
                                          const std::string& lengths = "64") {
    std::vector<std::string> arguments{name,    "--device", "cpu",     "--head-dim", "32",
                                       "--seq", lengths,    "--heads", "2",          "--batch",
                                       "1",     "--causal", "no"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  std::vector<std::string> environment() const {
    return {"FCSA_CXX=/nonexistent/c++",
            "FCSA_TUNED_DATA=", "XDG_CACHE_HOME=" + std::string(folder_ / "cache"),
            "XDG_DATA_HOME=" + std::string(folder_ / "data")};
  }
  ProgramResult run(const std::string& name, const std::vector<std::string>& more) const {
    return run_fcsa(command(name, more), environment());
  }

  TemporaryFolder folder_;
};

TEST_F(BenchTest, WritesGoogleBenchmarksJsonOfTunedAndBaseline) {
  // Kernels that are built in are measured; that nothing was searched without a compiler is a failure of
  // tune.
  ASSERT_EQ(run("tune", {"--evals", "1", "--db", folder_ / "t.db"}).status, 1);
  const auto result = run("bench", {"--db", folder_ / "t.db", "--benchmark_min_time=0.01",
                                    "--benchmark_filter=-unfused", "--json"});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["context"]["device_uuid"].get<std::string>().substr(0, 3), "CPU") << json["context"];
  ASSERT_EQ(json["benchmarks"].size(), 2U) << result.out;
  for (std::size_t i = 0; i < 2; ++i) {
    const auto& benchmark = json["benchmarks"][i];
    EXPECT_EQ(benchmark["name"], kName + (i == 0 ? "tuned" : "baseline") + "/manual_time");
    EXPECT_EQ(benchmark["run_type"], "iteration");
    EXPECT_EQ(benchmark["time_unit"], "us");
    EXPECT_GT(benchmark["peak_memory"], 64 * 32 * 4 * 4 * 2);
    EXPECT_EQ(benchmark["label"].get<std::string>().substr(0, 12), "cpu.forward{");
    // Until the shortest time is reached, and counters by the same time.
    const double seconds = benchmark["real_time"].get<double>() / 1e6;
    EXPECT_GE(seconds * benchmark["iterations"].get<double>(), 0.01);
    EXPECT_NEAR(benchmark["FLOP/s"].get<double>() * seconds, 4.0 * 2 * 64 * 64 * 32, 1);
    EXPECT_NEAR(benchmark["bytes_per_second"].get<double>() * seconds, 66048, 1);
  }
}

TEST_F(BenchTest, AFailedKernelIsAnErrorAndTheOthersAreMeasured) {
  const auto result = run("bench", {"--config", "simt.forward", "--benchmark_min_time=0.01", "--json"});
  EXPECT_EQ(result.status, 1) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  ASSERT_EQ(json["benchmarks"].size(), 3U);
  EXPECT_TRUE(json["benchmarks"][0]["error_occurred"]);
  EXPECT_EQ(json["benchmarks"][0]["error_message"], "pruned: simt runs on cuda, not on cpu");
  EXPECT_FALSE(json["benchmarks"][1].contains("error_occurred")) << json["benchmarks"][1];
  EXPECT_GT(json["benchmarks"][1]["real_time"], 0);
}

TEST_F(BenchTest, AnInterruptionSkipsWhatIsLeftAndKeepsWhatIsMeasured) {
  std::string lengths = "64";
  for (int length = 65; length < 500; ++length) lengths += "," + std::to_string(length);
  const std::string file = folder_ / "out.json";
  const auto arguments = command(
      "bench", {"--benchmark_filter=baseline", "--benchmark_min_time=0.01", "--benchmark_out=" + file},
      lengths);
  const pid_t process = start_fcsa(arguments, environment(), folder_ / "out", folder_ / "err");
  const auto measured = [&] { return read_file(file).find("real_time") != std::string::npos; };
  for (int i = 0; i < 2400 && !measured(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  kill(process, SIGINT);
  EXPECT_EQ(wait_for(process), 1) << read_file(folder_ / "err");
  const auto benchmarks = nlohmann::json::parse(read_file(file))["benchmarks"];
  ASSERT_EQ(benchmarks.size(), 436U);
  EXPECT_GT(benchmarks.front()["real_time"], 0);
  EXPECT_EQ(benchmarks.back().value("error_message", ""), "interrupted");
}

TEST_F(BenchTest, WithoutADatabaseItSaysSoAndMeasuresBaselines) {
  const auto result = run("bench", {"--benchmark_list_tests"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, kName + "baseline/manual_time\n" + kName + "unfused/manual_time\n");
  EXPECT_NE(result.err.find("nothing tuned"), std::string::npos) << result.err;
  EXPECT_EQ(run("bench", {"--db", folder_ / "missing.db"}).status, 1);
}

TEST_F(BenchTest, AFilterThatMatchesNothingFails) {
  EXPECT_EQ(run("bench", {"--benchmark_filter=nothing_like_this"}).status, 1);
}

TEST_F(BenchTest, FlagsThatNobodyTakesAreWrongUsage) {
  for (const std::string flag :
       {"--benchmark_formt=json", "--benchmark_format=jsn", "--frobnicate", "tuned"}) {
    const auto result = run("bench", {flag});
    EXPECT_EQ(result.status, 2) << flag;
    EXPECT_NE(result.err.find(flag), std::string::npos) << result.err;
  }
}

TEST_F(BenchTest, MeasuresPaddedBatches) {
  const auto result = run("bench", {"--op", "fwd,bwd", "--mask", "yes", "--key-lengths", "0.25,0,64",
                                    "--benchmark_min_time=0.01", "--benchmark_filter=baseline", "--json"});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["context"]["key_lengths"], "0.25,0,64");
  EXPECT_EQ(json["benchmarks"].size(), 2U) << result.out;
}

TEST_F(BenchTest, RefusesKeyLengthsWithoutAMask) {
  const auto result = run("bench", {"--key-lengths", "10"});
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.err.find("add --mask yes"), std::string::npos) << result.err;
  EXPECT_EQ(run("bench", {"--mask", "yes", "--key-lengths", "-1"}).status, 2);
}

}  // namespace
}  // namespace fcsa::cli
