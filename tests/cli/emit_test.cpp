// `fcsa emit` on databases that are made up.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/cli/program.h"
#include "tests/cli/tuned_database.h"

namespace fcsa::cli {
namespace {

constexpr const char* kMorning = "2026-01-02T03:00:00Z";
constexpr const char* kEvening = "2026-01-02T21:00:00Z";

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Emit, WritesTheTableAsJson) {
  const TemporaryFolder folder;
  add_tuning(folder / "t.db", gpu("GPU", "gpu-1", "sm_80"), 512, kMorning);
  const ProgramResult result =
      run_fcsa({"emit", "--db", folder / "t.db", "--out", folder / "o", "--format", "json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const auto table = nlohmann::json::parse(read_file(folder / "o" / "fcsa_tuned_sm_80.json"));
  EXPECT_EQ(table["device"]["name"], "GPU");
  EXPECT_TRUE(contains(table["provenance"]["command"], "--format json"));
  EXPECT_EQ(table["classes"][0]["shapes"][0]["time"]["median_ms"], 1.0);
}

TEST(Emit, PutsTheTrialsOfGpusOfOneModelIntoOneHeader) {
  const TemporaryFolder folder;
  add_tuning(folder / "t.db", gpu("GPU", "gpu-1", "sm_80"), 512, kMorning);
  add_tuning(folder / "t.db", gpu("GPU", "gpu-2", "sm_80"), 1024, kEvening);
  const ProgramResult result = run_fcsa({"emit", "--db", folder / "t.db", "--out", folder / "o"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_FALSE(contains(result.err, "share")) << result.err;
  const std::string header = read_file(folder / "o" / "fcsa_tuned_sm_80.cuh");
  for (const char* part : {"2 x GPU", "512..1024", "fcsa tune --seq 512", "fcsa tune --seq 1024"})
    EXPECT_TRUE(contains(header, part)) << part;
}

TEST(Emit, TakesTheModelThatWasTunedLastAndSaysSo) {
  const TemporaryFolder folder;
  add_tuning(folder / "t.db", gpu("New GPU", "gpu-1", "sm_80"), 512, kEvening);
  add_tuning(folder / "t.db", gpu("Old GPU", "gpu-2", "sm_80"), 512, kMorning);
  const std::vector<std::string> command = {"emit", "--db", folder / "t.db", "--out", folder / "o"};
  const ProgramResult both = run_fcsa(command);
  EXPECT_EQ(both.status, 0) << both.err;
  EXPECT_TRUE(contains(both.err, "New GPU and Old GPU share fcsa_tuned_sm_80")) << both.err;
  EXPECT_TRUE(contains(read_file(folder / "o" / "fcsa_tuned_sm_80.cuh"), "tuned for New GPU"));
  auto with_device = command;
  with_device.insert(with_device.end(), {"--device", "Old GPU"});
  const ProgramResult old = run_fcsa(with_device);
  EXPECT_FALSE(contains(old.err, "share")) << old.err;
  EXPECT_TRUE(contains(read_file(folder / "o" / "fcsa_tuned_sm_80.cuh"), "tuned for Old GPU"));
}

TEST(Emit, LeavesOutADeviceWithNothingToEmitAndSaysSo) {
  const TemporaryFolder folder;
  add_tuning(folder / "t.db", gpu("GPU", "gpu-1", "sm_80"), 512, kMorning);
  add_failure(folder / "t.db", gpu("Broken GPU", "gpu-2", "sm_90a"));
  const std::vector<std::string> command = {"emit", "--db", folder / "t.db", "--out", folder / "o"};
  const ProgramResult both = run_fcsa(command);
  EXPECT_EQ(both.status, 0) << both.err;
  EXPECT_TRUE(contains(both.err, "no successful trial of device 'gpu-2'")) << both.err;
  EXPECT_TRUE(std::filesystem::exists(folder / "o" / "fcsa_tuned_sm_80.cuh"));
  auto broken_alone = command;
  broken_alone.insert(broken_alone.end(), {"--device", "gpu-2"});
  EXPECT_EQ(run_fcsa(broken_alone).status, 1);
}

TEST(Emit, RefusesAFormatThatItDoesNotKnowAndADeviceThatIsNotThere) {
  const TemporaryFolder folder;
  add_tuning(folder / "t.db", gpu("GPU", "gpu-1", "sm_80"), 512, kMorning);
  const ProgramResult format = run_fcsa({"emit", "--db", folder / "t.db", "--format", "yaml"});
  EXPECT_EQ(format.status, 2);
  EXPECT_TRUE(contains(format.err, "'yaml' is neither header nor json")) << format.err;
  const ProgramResult device = run_fcsa({"emit", "--db", folder / "t.db", "--device", "H100"});
  EXPECT_EQ(device.status, 2);
  EXPECT_TRUE(contains(device.err, "gpu-1  GPU")) << device.err;
}

TEST(Emit, WithoutACompilerBinariesAreRefusedAndTheReasonIsGiven) {
  const TemporaryFolder folder;
  add_tuning(folder / "t.db", gpu("GPU", "gpu-1", "sm_80"), 512, kMorning);
  const ProgramResult result = run_fcsa({"emit", "--db", folder / "t.db", "--out", folder / "o", "--cubin"},
                                        {"FCSA_NVRTC=/nonexistent/libnvrtc.so"});
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(contains(result.err, "FCSA_NVRTC")) << result.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "o" / "fcsa_tuned_sm_80.h"));
}

}  // namespace
}  // namespace fcsa::cli
