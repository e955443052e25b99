// Does the verifier see what is wrong? Kernels with one fault each, through the real compiler, worker and
// checks.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <optional>
#include <set>

#include "kernels/families.h"
#include "tests/runner/evaluator_fixture.h"
#include "tests/runner/verification/mutants.h"

namespace fcsa::runner {
namespace {

using tuner::Status;

// The cpu family with mutants in its source, of which plans launch one; or none of them.
class MutantFamily final : public kernels::Family {
 public:
  static constexpr std::size_t kRight = 0;  // mutant i is i + 1

  MutantFamily(std::vector<Mutant> mutants, std::size_t launched)
      : original_(kernels::family_named("cpu")), mutants_(std::move(mutants)), launched_(launched) {}

  std::string name() const override { return original_.name(); }
  kernels::DeviceKind device_kind() const override { return original_.device_kind(); }
  std::string unsupported(const kernels::Problem& p, const kernels::Target& target) const override {
    return original_.unsupported(p, target);
  }
  std::vector<kernels::Parameter> parameters(kernels::Op op) const override {
    return original_.parameters(op);
  }
  std::vector<kernels::Constraint> constraints(kernels::Op op) const override {
    return original_.constraints(op);
  }
  kernels::Configuration baseline(const kernels::Problem& p, const kernels::Target& target) const override {
    return original_.baseline(p, target);
  }
  kernels::KernelTemplate kernel_template(kernels::Op op) const override {
    return original_.kernel_template(op);
  }
  kernels::Tile tile(const kernels::Configuration& configuration) const override {
    return original_.tile(configuration);
  }
  kernels::LaunchPlan plan(const kernels::Traits& traits, const kernels::Configuration& configuration,
                           const kernels::BackwardArgs& args) const override {
    kernels::LaunchPlan plan = original_.plan(traits, configuration, args);
    const auto kernels =
        original_.kernel_template(kernels::op_of_kernel(configuration.kernel)).kernels.size();
    for (int i = 0; i < plan.count; ++i) plan.steps[i].kernel += static_cast<int>(launched_ * kernels);
    return plan;
  }
  // The entries of the right kernels first, then those of every mutant.
  kernels::KernelSource source(const kernels::Problem& p,
                               const kernels::Configuration& configuration) const override {
    kernels::KernelSource source = original_.source(p, configuration);
    source.text = with_mutants(source.text, mutants_);
    const std::vector<std::string> kernels = std::exchange(source.entries, {});
    for (std::size_t mutant = 0; mutant <= mutants_.size(); ++mutant)
      for (const std::string& kernel : kernels) {
        source.entries.push_back(fmt::format("{}_of_{}", kernel, mutant));
        source.text += fmt::format(
            "extern \"C\" void {}(const fcsa::kernels::Args* args, long long task, void* scratch) {{\n"
            "  fcsa_mutant = {};\n"
            "  {}(args, task, scratch);\n}}\n",
            source.entries.back(), mutant, kernel);
      }
    return source;
  }

 private:
  const kernels::Family& original_;
  std::vector<Mutant> mutants_;
  std::size_t launched_;
};

class MutationTest : public EvaluatorTest {
 protected:
  // Of a small shape that no small check has.
  static kernels::Problem problem_of(const Mutant& mutant, kernels::Op op) {
    kernels::Problem p{
        .op = op, .head_dim = 32, .heads = 2, .kv_heads = 2, .nq = 72, .nk = 73, .logit_bound = {}};
    mutant.feature(p);
    return p;
  }

  // Compiled without optimisation beyond what makes templates bearable.
  ProcessEvaluatorOptions quick_options() {
    compiler_.emplace("FCSA_CXX", write_script(file("quick-c++"), "exec " FCSA_TEST_CXX " \"$@\" -O1"));
    return options();
  }

  // What the check before timing says has to be what `fcsa verify` says.
  static tuner::Evaluation judged(ProcessEvaluator& evaluator, const tuner::Candidate& candidate) {
    tuner::Evaluation verified = evaluator.verify(candidate);
    EXPECT_EQ(evaluator.evaluate(candidate).status, verified.status);
    return verified;
  }

  // Every mutant has to be refused, and the kernel that it was made of accepted on the same problem.
  void expect_refused(const std::vector<Mutant>& mutants, kernels::Op op) {
    const auto start = std::chrono::steady_clock::now();
    std::map<std::string, std::vector<Mutant>> of_problems;
    for (const Mutant& mutant : mutants)
      of_problems[kernels::to_text(problem_of(mutant, op))].push_back(mutant);
    ProcessEvaluator evaluator(quick_options());
    const auto candidate = [&](const kernels::Family& family, const Mutant& mutant) {
      const kernels::Problem p = problem_of(mutant, op);
      return tuner::Candidate{p, &family, family.baseline(p, evaluator.device().target)};
    };
    for (const auto& [problem, same] : of_problems) {
      const MutantFamily family(same, MutantFamily::kRight);
      evaluator.prefetch({{candidate(family, same.front())}});
    }
    for (const auto& [problem, same] : of_problems) {
      const MutantFamily right(same, MutantFamily::kRight);
      const tuner::Evaluation accepted = judged(evaluator, candidate(right, same.front()));
      EXPECT_EQ(accepted.status, Status::ok) << problem << ": " << accepted.message;
      for (std::size_t i = 0; i < same.size(); ++i) {
        const MutantFamily wrong(same, i + 1);
        const tuner::Evaluation result = judged(evaluator, candidate(wrong, same[i]));
        EXPECT_TRUE(result.status == Status::wrong_result || result.status == Status::crashed ||
                    result.status == Status::launch_failed)
            << same[i].what << ": " << tuner::to_text(result.status) << ' ' << result.message;
      }
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    fmt::print("{} wrong kernels of {} problems: {:.0f} s\n", mutants.size(), of_problems.size(),
               took.count());
  }

 private:
  std::optional<EnvironmentVariable> compiler_;
};

TEST_F(MutationTest, EveryWrongForwardKernelIsRefused) {
  expect_refused(forward_mutants(), kernels::Op::forward);
}

TEST_F(MutationTest, EveryWrongBackwardKernelIsRefused) {
  expect_refused(backward_mutants(), kernels::Op::backward);
}

TEST_F(MutationTest, MutantsAreManyAndDifferent) {
  std::set<std::string> faults;
  for (const kernels::Op op : {kernels::Op::forward, kernels::Op::backward})
    for (const Mutant& mutant : op == kernels::Op::forward ? forward_mutants() : backward_mutants()) {
      std::string changes(kernels::to_text(op));
      for (const Change& change : mutant.changes) changes += change.place + change.instead;
      EXPECT_TRUE(faults.insert(changes).second) << mutant.what;
    }
  EXPECT_GE(faults.size(), 40u);
}

}  // namespace
}  // namespace fcsa::runner
