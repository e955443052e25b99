// Which trials stay valid, given what two builds made of their kernels; no compiler.
#include "runner/compile/kernel_code.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "runner/compile/binary_cache.h"

namespace fcsa::runner {
namespace {

using tuner::StoredTrial;

constexpr const char* kFormer = "former source";

// Measured with other source than this build's; kernels differ in the head dim.
StoredTrial trial_of(int head_dim, const std::string& source_hash = kFormer) {
  StoredTrial stored;
  auto& device = stored.session.device;
  device.name = "NVIDIA H100";
  device.compiler = "NVRTC 13.0";
  device.target = kernels::target_for_arch("sm_90a");
  stored.trial.problem.head_dim = head_dim;
  stored.trial.problem.nq = stored.trial.problem.nk = 1024;
  stored.trial.configuration = "simt.forward{}";
  stored.trial.source_hash = source_hash;
  return stored;
}

KernelCode code_of(const StoredTrial& stored, const std::string& build_hash) {
  KernelCode code;
  code.problem_class = kernels::class_text(stored.trial.problem);
  code.configuration = stored.trial.configuration;
  code.arch = stored.session.device.target.arch;
  code.measured_with = code.compiler = stored.session.device.compiler;
  code.source_hash = stored.trial.source_hash;
  code.build_hash = build_hash;
  code.code = "code";
  code.launches = {{kernels::to_text(stored.trial.problem), "launches"}};
  return code;
}

// Of one trial that this build would give the hash "new": what became of its hash, and why.
struct Outcome {
  std::string source_hash, reason;
};

Outcome restamped(const StoredTrial& stored, const std::vector<KernelCode>& before,
                  const std::vector<KernelCode>& now) {
  const auto result = restamp({stored}, before, now);
  EXPECT_EQ(result.valid, 0U);
  EXPECT_EQ(result.restamped + result.stale.size(), 1U);
  return {result.trials.at(0).trial.source_hash, result.stale.empty() ? "" : result.stale[0].reason};
}

TEST(Restamp, GivesThisBuildsHashWhereTheCodeIsTheSame) {
  const auto stored = trial_of(32);
  const auto outcome = restamped(stored, {code_of(stored, kFormer)}, {code_of(stored, "new")});
  EXPECT_EQ(outcome.source_hash, "new");
  EXPECT_EQ(outcome.reason, "");
}

TEST(Restamp, LeavesEverythingElseAsItIs) {
  const auto stored = trial_of(32);
  const auto former = code_of(stored, kFormer), now = code_of(stored, "new");
  const auto expect_stale = [&](const std::vector<KernelCode>& before, const KernelCode& after,
                                const std::string& reason) {
    const auto outcome = restamped(stored, before, {after});
    EXPECT_EQ(outcome.source_hash, kFormer) << reason;
    EXPECT_NE(outcome.reason.find(reason), std::string::npos) << outcome.reason;
  };
  auto other = former;
  other.code = "other code";
  expect_stale({other}, now, "other machine code");
  other = former;
  other.launches.begin()->second = "more blocks";
  expect_stale({other}, now, "launched in another way");
  other.launches.clear();
  expect_stale({other}, now, "launched in another way");
  other = former;
  other.build_hash = "yet another";
  expect_stale({other}, now, "measured with other source than the former build's");
  other = former;
  other.compiler = "NVRTC 12.9";
  expect_stale({other}, now, "compiled with NVRTC 12.9");
  other = now;
  other.compiler = "NVRTC 13.1";
  expect_stale({former}, other, "compiled with NVRTC 13.1");
  other = former;
  other.error = "timed_out", other.code = "";
  expect_stale({other}, now, "timed_out");
  other = now;
  other.error = "no such parameter", other.code = "";
  expect_stale({former}, other, "no such parameter");
  expect_stale({}, now, "the former build's codes don't have it");
}

// Two builds that failed alike have the same code: none.
TEST(Restamp, NeverTakesTwoFailuresForTheSameCode) {
  const auto stored = trial_of(32);
  auto before = code_of(stored, kFormer), now = code_of(stored, "new");
  before.code = now.code = "";
  before.error = now.error = "crashed";
  EXPECT_EQ(restamped(stored, {before}, {now}).source_hash, kFormer);
}

TEST(Restamp, CountsTrialsAndNamesEachKernelOnce) {
  const auto same = trial_of(32), other = trial_of(64);
  auto valid = trial_of(96);
  const auto& family = kernels::family_named("simt");
  const auto& target = valid.session.device.target;
  valid.trial.source_hash =
      source_hash(family.source(valid.trial.problem, family.baseline(valid.trial.problem, target)), target,
                  {valid.session.device.compiler, compile_options(target)});
  valid.trial.configuration =
      kernels::to_text(family, kernels::Op::forward, family.baseline(valid.trial.problem, target));
  auto changed = code_of(other, "new");
  changed.code = "other code";
  const auto result =
      restamp({other, same, valid, other}, std::vector{code_of(same, kFormer), code_of(other, kFormer)},
              std::vector{code_of(same, "new"), changed});
  EXPECT_EQ(result.valid, 1U);
  EXPECT_EQ(result.restamped, 1U);
  ASSERT_EQ(result.stale.size(), 1U);
  EXPECT_EQ(result.stale[0].trials, 2U);
  EXPECT_EQ(result.stale[0].problem_class, kernels::class_text(other.trial.problem));
  EXPECT_EQ(result.stale[0].configuration, "simt.forward{}");
  ASSERT_EQ(result.trials.size(), 4U);
  const std::vector<std::string> hashes = {kFormer, "new", valid.trial.source_hash, kFormer};
  for (std::size_t i = 0; i < hashes.size(); ++i)
    EXPECT_EQ(result.trials[i].trial.source_hash, hashes[i]) << i;
}

TEST(KernelCodes, ReadBackWhatWasWritten) {
  auto good = code_of(trial_of(32), "new"), bad = code_of(trial_of(64), "");
  bad.code = "", bad.error = "crashed: \"signal\"\n", bad.launches.clear();
  const auto codes = kernel_codes_from_json(to_json(good) + "\n" + to_json(bad) + "\n");
  ASSERT_EQ(codes.size(), 2U);
  for (const auto& [read, written] : {std::pair{codes[0], good}, {codes[1], bad}}) {
    EXPECT_EQ(read.identity(), written.identity());
    EXPECT_EQ(std::tie(read.build_hash, read.compiler, read.code, read.launches, read.error),
              std::tie(written.build_hash, written.compiler, written.code, written.launches, written.error));
  }
}

TEST(KernelCodes, SayWhichLineIsNone) {
  const auto line = to_json(code_of(trial_of(32), "new"));
  for (const std::string text : {"{\"class\": ", "{}", "[1]", "7"}) {
    try {
      kernel_codes_from_json(fmt::format("{}\n{}\n", line, text));
      ADD_FAILURE() << text;
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(std::string(error.what()).find("line 2: "), 0U) << error.what();
    }
  }
}

}  // namespace
}  // namespace fcsa::runner
