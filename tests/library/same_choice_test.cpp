// The library, an emitted header and `fcsa explain` name the same configuration.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <random>
#include <sstream>

#include "kernels/cpu/instruction_set.h"
#include "library/selection.h"
#include "tests/tuner/emit/emitted_table.h"
#include "tests/tuner/history.h"
#include "tuner/dispatch/explanation.h"
#include "tuner/trials/tuned_data.h"

namespace fcsa::library {
namespace {

using kernels::Op;
using kernels::Problem;

int log_uniform(int most, std::mt19937& random) {
  return static_cast<int>(std::exp2(std::log2(most) * (random() % 10000) / 10000.0));
}

// What was measured on one device, and how often what was asked of it.
class Comparison {
 public:
  explicit Comparison(std::vector<tuner::StoredTrial> trials)
      : trials_(std::move(trials)),
        device_(trials_.front().session.device),
        table_(tuner::dispatch_table_for(trials_, device_)),
        plan_(tuner::plan_emission(table_, tuner::Serve::tuned)),
        emitted_(plan_) {}

  int defaults = 0, passed_over = 0;

  // Of a class that was tuned, with lengths and, backward, demands of its own.
  Problem random_problem(std::mt19937& random) const {
    const auto& dispatch = table_.classes[random() % table_.classes.size()];
    Problem p = dispatch.entries[random() % dispatch.entries.size()].problem;
    if (random() % 8 != 0) p.nq = log_uniform(20000, random), p.nk = log_uniform(20000, random);
    if (random() % 2) p.batch = log_uniform(16, random);
    if (p.op == Op::backward) p.deterministic = random() % 2, p.scale_gradient = random() % 4 == 0;
    return p;
  }

  void compare(const Problem& problem) {
    const TunedTable tuned{table_, "a file"};
    const Selection selection = select(problem, device_, {&tuned, 1});
    const std::string chosen = kernels::to_text(*selection.family, problem.op, selection.configuration);
    EXPECT_EQ(kernels::misfit(*selection.family, problem, selection.configuration, device_.target), "");

    const auto explained = tuner::explain(trials_, table_, problem, device_).choice;
    EXPECT_EQ(explained.configuration, chosen) << kernels::to_text(problem);
    passed_over += !explained.passed_over.empty();

    const auto call = tuner::testing::attention_of(problem);
    const auto choice = emitted::detail::choose(emitted_.view(), call, problem.op);
    const bool is_default = explained.match == tuner::Match::default_choice;
    EXPECT_EQ(choice.of == nullptr, is_default) << kernels::to_text(problem);
    defaults += is_default;
    if (choice.of == nullptr) return;
    const auto& variant = plan_.variants[static_cast<std::size_t>(choice.variant)];
    EXPECT_EQ(kernels::to_text(*variant.family, problem.op, variant.configuration), chosen)
        << kernels::to_text(problem);
  }

 private:
  std::vector<tuner::StoredTrial> trials_;
  kernels::DeviceInfo device_;
  tuner::DispatchTable table_;
  tuner::EmitPlan plan_;
  tuner::testing::EmittedTable emitted_;
};

std::vector<tuner::StoredTrial> recorded(const std::string& file) {
  std::ostringstream text;
  text << std::ifstream(FCSA_TEST_SOURCES "/data/sm_90/" + file).rdbuf();
  return tuner::trials_of_tuned_data(text.str());
}

// Shapes all over, on which one or the other of the configurations is faster.
std::vector<tuner::StoredTrial> fabricated(const kernels::DeviceInfo& device, const Problem& base,
                                           const std::vector<std::string>& configurations) {
  std::mt19937 random(3);
  tuner::testing::History history;
  history.device = device;
  for (int i = 0; i < 30; ++i) {
    Problem p = base;
    p.nq = log_uniform(20000, random), p.nk = log_uniform(20000, random), p.batch = log_uniform(16, random);
    std::vector<std::pair<std::string, double>> race;
    for (const auto& configuration : configurations)
      race.emplace_back(configuration, 1e-6 * (p.nq + 64.0) * (p.nk + 64.0) * (1 + random() % 100 / 100.0));
    history.race(p, "race" + std::to_string(i), race);
  }
  return history.trials;
}

// The family's baseline, and others with one parameter changed.
std::vector<std::string> variations(const std::string& family_name, const Problem& problem,
                                    const kernels::Target& target,
                                    const std::vector<std::pair<std::string, int>>& changes) {
  const auto& family = kernels::family_named(family_name);
  const auto baseline = family.baseline(problem, target);
  std::vector<std::string> texts{kernels::to_text(family, problem.op, baseline)};
  for (const auto& [parameter, value] : changes) {
    auto changed = baseline;
    for (auto& [name, current] : changed.values)
      if (name == parameter) current = value;
    EXPECT_EQ(kernels::misfit(family, problem, changed, target), "") << parameter;
    texts.push_back(kernels::to_text(family, problem.op, changed));
  }
  return texts;
}

Comparison simt_gradients() {
  kernels::DeviceInfo device;
  device.uuid = "gpu-1", device.target = kernels::target_for_arch("sm_80");
  Problem p;
  p.op = Op::backward, p.heads = p.kv_heads = 4, p.nq = p.nk = 2048;
  return Comparison(fabricated(device, p, variations("simt", p, device.target, {{"dq_atomics", 1}})));
}

Comparison cpu_attention(Op op) {
  kernels::DeviceInfo device;
  device.uuid = "cpu-1", device.target.arch = "avx2", device.target.multiprocessors = 8;
  Problem p;
  p.op = op, p.heads = p.kv_heads = 4, p.nq = p.nk = 2048;
  return Comparison(
      fabricated(device, p, variations("cpu", p, device.target, {{"unroll", 1}, {"key_steps", 2}})));
}

// Chunked prefill: half of a tile's rows past the end is no reason not to launch, only not to search.
TEST(SameChoice, WhatIsOnlyNotWorthSearchingIsLaunchedWhereItIsPredicted) {
  kernels::DeviceInfo device;
  device.uuid = "gpu-1", device.target = kernels::target_for_arch("sm_80");
  Problem p;
  p.dtype = kernels::DType::bf16, p.heads = p.kv_heads = 8, p.nq = p.nk = 4096;
  const std::string large = "mma.forward{warps_m=8}";
  tuner::testing::History history;
  history.device = device;
  history.race(p, "race", {{large, 1.0}, {"mma.forward{warps_m=2}", 2.0}});
  const TunedTable tuned{history.table(), "a file"};
  p.nq = 64;
  const auto [family, op, configuration] = kernels::parse_kernel(large);
  ASSERT_NE(kernels::invalid_reason(*family, p, configuration, device.target), "");
  const Selection selection = select(p, device, {&tuned, 1});
  EXPECT_EQ(kernels::to_text(*family, op, selection.configuration), large) << selection.reason;
}

TEST(SameChoice, OfTheLibraryAnEmittedHeaderAndExplainOnAThousandProblems) {
  std::mt19937 random(11);
  std::vector<Comparison> comparisons;
  comparisons.emplace_back(recorded("h100_80gb_hbm3.json"));
  comparisons.emplace_back(recorded("h200.json"));
  comparisons.push_back(simt_gradients());
  comparisons.push_back(cpu_attention(Op::forward));
  comparisons.push_back(cpu_attention(Op::backward));
  int defaults = 0, passed_over = 0;
  for (auto& comparison : comparisons) {
    for (int i = 0; i < 200; ++i) comparison.compare(comparison.random_problem(random));
    defaults += comparison.defaults;
    passed_over += comparison.passed_over;
  }
  EXPECT_LE(defaults, 500);
  EXPECT_GE(passed_over, 100);
}

}  // namespace
}  // namespace fcsa::library
