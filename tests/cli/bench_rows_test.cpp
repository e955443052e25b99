#include "cli/bench_rows.h"

#include <gtest/gtest.h>

#include <optional>

namespace fcsa::cli {
namespace {

kernels::Problem problem(int length) {
  kernels::Problem p;
  p.batch = 2;
  p.heads = p.kv_heads = 4;
  p.nq = p.nk = length;
  return p;
}

kernels::DeviceInfo device() {
  kernels::DeviceInfo info;
  info.target = kernels::target_for_arch("sm_80");
  info.name = "GPU";
  return info;
}

tuner::DispatchTable tuned_at(int length, const std::string& configuration) {
  tuner::DispatchTable table;
  table.device = device();
  tuner::DispatchEntry entry;
  entry.problem = problem(length);
  entry.chosen_ms = entry.best_ms = 1;
  entry.times_ms = {1};
  tuner::DispatchClass problems;
  problems.class_text = kernels::class_text(entry.problem);
  problems.traits = kernels::traits_of(entry.problem);
  problems.configurations = {configuration};
  problems.entries = {entry};
  problems.rule = tuner::fit_rule(problems, device().target.multiprocessors);
  table.classes = {problems};
  return table;
}

std::vector<BenchRow> rows_of(int length, const std::optional<tuner::DispatchTable>& table,
                              const std::vector<std::string>& configurations = {}) {
  return bench_rows(problem(length), device(), table ? &*table : nullptr, configurations);
}

std::vector<std::string> last_words(const std::vector<BenchRow>& rows) {
  std::vector<std::string> words;
  for (const auto& row : rows) words.push_back(row.name.substr(row.name.rfind('/') + 1));
  return words;
}

TEST(BenchRows, ANameIsTheProblemAndTheRole) {
  EXPECT_EQ(benchmark_name(problem(512), "tuned"),
            "forward/f32/d64/b2/h4/kv4/nq512/nk512/bhnd/scale:8/tuned");
}

TEST(BenchRows, TheTunedChoiceIsComparedWithTheBaselineOfItsFamilyAndUnfusedAttention) {
  const auto rows = rows_of(512, tuned_at(512, "simt.forward{warps=8}"));
  EXPECT_EQ(last_words(rows), (std::vector<std::string>{"tuned", "baseline", "unfused"}));
  EXPECT_EQ(rows[0].label, "simt.forward{warps=8}");
  EXPECT_EQ(rows[0].candidate.configuration.at("warps"), 8);
  EXPECT_EQ(rows[1].candidate.family->name(), "simt");
  EXPECT_FALSE(rows[2].candidate.family->tunable());
}

TEST(BenchRows, SaysWhichShapeAnUntunedOneWasServedBy) {
  const auto rows = rows_of(700, tuned_at(512, "simt.forward{warps=8}"));
  EXPECT_EQ(rows[0].name, benchmark_name(problem(700), "tuned"));
  EXPECT_NE(rows[0].label.find("simt.forward{warps=8} ("), std::string::npos) << rows[0].label;
  EXPECT_NE(rows[0].label.find("512"), std::string::npos) << rows[0].label;
}

TEST(BenchRows, SaysThatAnotherDeviceWasTuned) {
  const auto& simt = kernels::family_named("simt");
  tuner::DispatchTable table = tuned_at(
      512, kernels::to_text(simt, kernels::Op::forward, simt.baseline(problem(512), device().target)));
  table.device.name = "Another GPU";
  const auto rows = rows_of(512, table);
  EXPECT_EQ(last_words(rows).front(), "tuned");
  EXPECT_NE(rows[0].label.find("Another GPU"), std::string::npos) << rows[0].label;
}

TEST(BenchRows, WithoutTuningThereAreBaselinesOnly) {
  EXPECT_EQ(last_words(rows_of(512, std::nullopt)), (std::vector<std::string>{"baseline", "unfused"}));
}

TEST(BenchRows, GivenConfigurationsReplaceTheTunedOneAndChooseTheBaseline) {
  const auto rows =
      rows_of(512, tuned_at(512, "mma.forward"), {"simt.forward{warps=8}", "simt.forward{warps=4}"});
  EXPECT_EQ(last_words(rows).front(), "simt.forward{warps=8}");
  EXPECT_EQ(rows.size(), 4U);
  EXPECT_EQ(rows[2].candidate.family->name(), "simt");
}

TEST(BenchRows, ThrowsForWhatIsNoConfiguration) {
  EXPECT_THROW(rows_of(512, std::nullopt, {"simt.forward{colour=3}"}), std::invalid_argument);
  EXPECT_THROW(rows_of(512, std::nullopt, {"fast"}), std::invalid_argument);
}

}  // namespace
}  // namespace fcsa::cli
