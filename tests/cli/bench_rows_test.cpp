#include "cli/bench_rows.h"

#include <gtest/gtest.h>

#include <set>

namespace fcsa::cli {
namespace {

kernels::Problem problem(int length) {
  kernels::Problem p;
  p.batch = 2;
  p.heads = p.kv_heads = 4;
  p.nq = p.nk = length;
  return p;
}

tuner::DispatchTable untuned() {
  tuner::DispatchTable table;
  table.device.target = kernels::target_for_arch("sm_80");
  return table;
}

tuner::DispatchTable tuned_at(int length, const std::string& configuration) {
  tuner::DispatchTable table = untuned();
  tuner::DispatchEntry entry;
  entry.problem = problem(length);
  tuner::DispatchClass problems;
  problems.class_text = kernels::class_text(entry.problem);
  problems.traits = kernels::traits_of(entry.problem);
  problems.configurations = {configuration};
  problems.entries = {entry};
  table.classes = {problems};
  return table;
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
  const auto rows = bench_rows(problem(512), tuned_at(512, "simt.forward{warps=8}"), {});
  EXPECT_EQ(last_words(rows), (std::vector<std::string>{"tuned", "baseline", "unfused"}));
  EXPECT_EQ(rows[0].label, "simt.forward{warps=8}");
  EXPECT_EQ(rows[0].candidate.configuration.at("warps"), 8);
  EXPECT_EQ(rows[1].candidate.family->name(), "simt");
  EXPECT_FALSE(rows[2].candidate.family->tunable());
}

TEST(BenchRows, SaysWhichShapeAnUntunedOneWasServedBy) {
  const auto rows = bench_rows(problem(700), tuned_at(512, "simt.forward{warps=8}"), {});
  EXPECT_EQ(rows[0].name, benchmark_name(problem(700), "tuned"));
  EXPECT_NE(rows[0].label.find("tuned for " + kernels::to_text(problem(512))), std::string::npos)
      << rows[0].label;
}

TEST(BenchRows, WithoutTuningThereAreBaselinesOnly) {
  EXPECT_EQ(last_words(bench_rows(problem(512), untuned(), {})),
            (std::vector<std::string>{"baseline", "unfused"}));
}

TEST(BenchRows, GivenConfigurationsReplaceTheTunedOneAndChooseTheBaseline) {
  const auto rows = bench_rows(problem(512), tuned_at(512, "mma.forward"),
                               {"simt.forward{warps=8}", "simt.forward{warps=4}"});
  EXPECT_EQ(last_words(rows).front(), "simt.forward{warps=8}");
  EXPECT_EQ(rows.size(), 4U);
  EXPECT_EQ(rows[2].candidate.family->name(), "simt");
}

TEST(BenchRows, ThrowsForWhatIsNoConfiguration) {
  EXPECT_THROW(bench_rows(problem(512), untuned(), {"simt.forward{colour=3}"}), std::invalid_argument);
  EXPECT_THROW(bench_rows(problem(512), untuned(), {"fast"}), std::invalid_argument);
}

}  // namespace
}  // namespace fcsa::cli
