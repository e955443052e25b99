// Tuned data whose kernels have other text now: what `fcsa db codes` says of them, and `fcsa db restamp`
// does.
#include <gtest/gtest.h>

#include <fstream>

#include "runner/compile/kernel_code.h"
#include "tests/cli/program.h"
#include "tests/cli/tuned_database.h"
#include "tuner/trials/tuned_data.h"

namespace fcsa::cli {
namespace {

constexpr const char* kFormerHash = "of the former source";

// One trial of each of two kernels, measured with source that is not this build's.
std::vector<tuner::StoredTrial> stale_trials() {
  std::vector<tuner::StoredTrial> trials;
  for (const char* configuration : {"simt.forward{}", "simt.forward{unroll=1}"}) {
    tuner::StoredTrial stored;
    stored.session.id = "tuned";
    stored.session.device = gpu("GPU", "gpu-1", "sm_75");
    stored.trial.problem.head_dim = 32;
    stored.trial.problem.nq = stored.trial.problem.nk = 512;
    stored.trial.configuration = configuration;
    stored.trial.source_hash = kFormerHash;
    stored.trial.evaluation.measurement.samples_ms = {1};
    stored.trial.evaluation.measurement.median_ms = 1;
    trials.push_back(stored);
  }
  return trials;
}

class RestampWithNvrtc : public testing::Test {
 protected:
  RestampWithNvrtc() { write_data(); }

  void write_data() const { std::ofstream(data_) << tuner::to_tuned_data(trials_); }

  ProgramResult run(const std::vector<std::string>& arguments) const {
    return run_fcsa(arguments, {"XDG_CACHE_HOME=" + std::string(folder_ / "cache")});
  }

  // What this build makes of the kernels.
  std::vector<runner::KernelCode> codes() const {
    const ProgramResult result = run({"db", "codes", data_});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_NE(result.err.find("2 kernels, 0 of them measured with this build's source, 0 failed"),
              std::string::npos)
        << result.err;
    return runner::kernel_codes_from_json(result.out);
  }

  ProgramResult restamp(const std::vector<runner::KernelCode>& before) const {
    std::ofstream file(folder_ / "codes.jsonl");
    for (const auto& code : before) file << runner::to_json(code) << '\n';
    file.close();
    return run({"db", "restamp", "--codes", folder_ / "codes.jsonl", data_});
  }

  const TemporaryFolder folder_;
  const std::string data_ = folder_ / "gpu.json";
  std::vector<tuner::StoredTrial> trials_ = stale_trials();
};

TEST_F(RestampWithNvrtc, GivesThisBuildsHashToThoseTrialsWhoseCodeIsTheSame) {
  for (auto& stored : trials_) stored.session.device.compiler = codes().at(0).compiler;
  write_data();
  // As if the build with the former source had made one the same, the other not.
  auto before = codes();
  ASSERT_EQ(before.size(), 2U);
  ASSERT_NE(before[0].code, before[1].code);
  const std::string hash_now = before[0].build_hash;
  for (auto& code : before) code.build_hash = kFormerHash;
  before[1].code = before[0].code;

  const ProgramResult result = restamp(before);
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_NE(result.out.find("1 of 2 trials restamped, 0 were valid already, 1 are stale\n"
                            "  1 of forward f32 d32 scale=8 simt.forward{unroll=1}: other machine code\n"),
            std::string::npos)
      << result.out << result.err;
  const auto trials = tuner::trials_of_tuned_data(read_file(data_));
  ASSERT_EQ(trials.size(), 2U);
  EXPECT_EQ(trials[0].trial.source_hash, hash_now);
  EXPECT_EQ(trials[1].trial.source_hash, kFormerHash);

  // Nothing is left to do for the first.
  const auto now = run({"db", "codes", data_});
  EXPECT_TRUE(runner::kernel_codes_from_json(now.out).at(0).measured());
  EXPECT_NE(restamp(before).out.find("0 of 2 trials restamped, 1 were valid already"), std::string::npos);
}

TEST_F(RestampWithNvrtc, AKernelThatThisBuildDoesntKnowIsARowAndFails) {
  trials_.pop_back();
  trials_[0].trial.configuration = "simt.forward{gone=1}";
  write_data();
  const ProgramResult result = run({"db", "codes", data_});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.out.find("simt.forward has no parameter 'gone'\"}"), std::string::npos) << result.out;
}

TEST_F(RestampWithNvrtc, ADatabaseHasTheSameCodesAsItsTrialsAsText) {
  trials_.pop_back();
  trials_[0].trial.configuration = "simt.forward{gone=1}";
  write_data();
  const std::string db = folder_ / "tuning.db";
  ASSERT_EQ(run({"db", "--db", db, "merge", data_}).status, 0);
  const std::string codes = run({"db", "codes", db}).out;
  EXPECT_FALSE(codes.empty());
  EXPECT_EQ(codes, run({"db", "codes", data_}).out);
}

TEST_F(RestampWithNvrtc, CodesThatAreNoneLeaveTheFileAsItIs) {
  const std::string text = read_file(data_);
  const ProgramResult result = run({"db", "restamp", "--codes", data_, data_});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("is not what `fcsa db codes` writes: line 1"), std::string::npos) << result.err;
  EXPECT_EQ(read_file(data_), text);
}

}  // namespace
}  // namespace fcsa::cli
