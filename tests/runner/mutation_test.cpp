// Does the verifier see what is wrong? Kernels with one fault each, through the real compiler, worker and
// checks.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "kernels/families.h"
#include "tests/runner/evaluator_fixture.h"
#include "tests/runner/mutants.h"

namespace fcsa::runner {
namespace {

using tuner::Status;

// The cpu family with one change of its source.
class MutantFamily final : public kernels::Family {
 public:
  explicit MutantFamily(Mutant mutant)
      : original_(kernels::family_named("cpu")), mutant_(std::move(mutant)) {}

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
  kernels::LaunchPlan plan(const kernels::Traits& traits, const kernels::Configuration& configuration,
                           const kernels::BackwardArgs& args) const override {
    return original_.plan(traits, configuration, args);
  }
  kernels::Tile tile(const kernels::Configuration& configuration) const override {
    return original_.tile(configuration);
  }
  // Throws where the text to change is not there: then the kernel has been rewritten, and so must the mutant.
  kernels::KernelSource source(const kernels::Problem& p,
                               const kernels::Configuration& configuration) const override {
    kernels::KernelSource source = original_.source(p, configuration);
    if (mutant_.from.empty()) return source;
    const auto found = source.text.find(mutant_.from);
    if (found == std::string::npos) throw std::logic_error("no longer in the source: " + mutant_.from);
    source.text.replace(found, mutant_.from.size(), mutant_.to);
    return source;
  }

 private:
  const kernels::Family& original_;
  Mutant mutant_;
};

class MutationTest : public EvaluatorTest {
 protected:
  // Of a small shape that no small check has, without optimisation beyond what makes templates bearable.
  static kernels::Problem problem_of(const Mutant& mutant, kernels::Op op) {
    kernels::Problem p{
        .op = op, .head_dim = 32, .heads = 2, .kv_heads = 2, .nq = 72, .nk = 73, .logit_bound = {}};
    mutant.feature(p);
    return p;
  }

  ProcessEvaluatorOptions quick_options() {
    compiler_.emplace("FCSA_CXX", write_script(file("quick-c++"), "exec " FCSA_TEST_CXX " \"$@\" -O1"));
    return options();
  }

  // Every mutant has to be refused, and the kernel that it was made of accepted on the same problem.
  void expect_refused(std::vector<Mutant> mutants, kernels::Op op) {
    std::map<std::string, Mutant> right;
    for (const Mutant& mutant : mutants)
      right.try_emplace(kernels::to_text(problem_of(mutant, op)),
                        Mutant{"nothing is wrong", "", "", mutant.feature});
    for (const auto& [problem, mutant] : right) mutants.push_back(mutant);
    // Those of one problem one after the other: its references are computed once.
    std::stable_sort(mutants.begin(), mutants.end(), [&](const Mutant& a, const Mutant& b) {
      return kernels::to_text(problem_of(a, op)) < kernels::to_text(problem_of(b, op));
    });
    ProcessEvaluator evaluator(quick_options());
    std::vector<std::unique_ptr<MutantFamily>> families;
    std::vector<tuner::Candidate> candidates;
    for (const Mutant& mutant : mutants) {
      const kernels::Problem p = problem_of(mutant, op);
      families.push_back(std::make_unique<MutantFamily>(mutant));
      candidates.push_back(
          {p, families.back().get(), families.back()->baseline(p, evaluator.device().target)});
    }
    evaluator.prefetch(candidates);
    for (std::size_t i = 0; i < mutants.size(); ++i) {
      const tuner::Evaluation result = evaluator.verify(candidates[i]);
      SCOPED_TRACE(fmt::format("{}: {} {}", mutants[i].what, tuner::to_text(result.status), result.message));
      if (mutants[i].from.empty()) {
        EXPECT_EQ(result.status, Status::ok);
      } else {
        EXPECT_TRUE(result.status == Status::wrong_result || result.status == Status::crashed ||
                    result.status == Status::launch_failed);
      }
    }
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
  std::set<std::string> changes;
  for (const auto& mutants : {forward_mutants(), backward_mutants()})
    for (const Mutant& mutant : mutants) {
      EXPECT_FALSE(mutant.from.empty()) << mutant.what;
      changes.insert(mutant.from + mutant.to);
    }
  EXPECT_GE(changes.size(), 40u);
}

}  // namespace
}  // namespace fcsa::runner
