// A family of kernels: one source template, its tuned parameters and constraints, and how it is launched.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/common/prediction.h"
#include "kernels/configuration.h"
#include "kernels/problem.h"
#include "kernels/target.h"

namespace fcsa::kernels {

// must: else it can't be compiled or launched, or computes something wrong. Whoever launches asks that.
// worth: else it isn't worth trying, whatever the lengths. worth_here: nor for this shape, of which the rule
// reads lengths, heads or batch. Whoever searches asks all three; the first two say the same of all problems
// of a class.
enum class RuleKind { must, worth, worth_here };

struct Constraint {
  std::string reason;  // what is violated where it doesn't hold: "more shared memory than a block may have"
  std::function<bool(const Problem&, const Configuration&, const Target&)> holds;
  // Parameters that it looks at: a search asks it of all their combinations, so few of them keep spaces
  // cheap. Empty: all.
  std::vector<std::string> reads = {};
  RuleKind kind = RuleKind::must;
};

// Where the code of a family is. Kernels are `template <Traits T, Config C>`:
//   CUDA  __global__ void kernel(const __grid_constant__ Args args)
//   CPU   void kernel(const Args& args, long long task, void* scratch)       called for each task of
//   Launch::grid_x
// Backward kernels take BackwardArgs.
struct KernelTemplate {
  std::string source_path;  // "kernels/simt/forward.cuh"; its quoted includes are inlined
  std::string config_type;  // "fcsa::kernels::simt::ForwardConfig"
  std::vector<std::string>
      kernels;  // "fcsa::kernels::simt::forward", in the order that Launch::kernel counts
};

// What a compiler needs: self-contained text and what to instantiate.
struct KernelSource {
  DeviceKind kind = DeviceKind::cpu;
  std::string text;
  std::vector<std::string> entries;  // CUDA: name expressions. CPU: names of extern "C" functions
};

// Of a backward pass: the kernel (Launch::kernel) that computes dK and dV, and the one that computes dQ,
// where no other one reads what it leaves but for the gradients of bias and scale. -1: there is none like
// that.
struct GradientKernels {
  int keys = -1, queries = -1;
};

class Family {
 public:
  virtual ~Family() = default;
  virtual std::string name() const = 0;  // "simt"
  virtual DeviceKind device_kind() const = 0;
  // Part of what is tuned; false for yardsticks such as the unfused baseline.
  virtual bool tunable() const { return true; }
  // Why this family doesn't serve the problem on the target; empty when it does. Here what holds for all
  // families of a device; a family that refuses more asks this first.
  virtual std::string unsupported(const Problem& problem, const Target& target) const;
  virtual std::vector<Parameter> parameters(Op op) const = 0;
  virtual std::vector<Constraint> constraints(Op op) const = 0;
  // A configuration that is valid for every problem and target served, and good on most.
  virtual Configuration baseline(const Problem& problem, const Target& target) const = 0;
  // Whether baselines may spill a few registers, because they were measured to be the fastest nevertheless.
  virtual bool baseline_may_spill(Op) const { return false; }
  virtual KernelTemplate kernel_template(Op op) const = 0;
  // Grid, threads, shared memory and workspace for these sizes (pointers in args are not looked at).
  virtual LaunchPlan plan(const Traits& traits, const Configuration& configuration,
                          const BackwardArgs& args) const = 0;
  // What can be left out where dK and dV, or dQ, aren't wanted. Precondition: of a backward pass.
  virtual GradientKernels gradient_kernels(const Configuration&) const { return {}; }
  // Verification puts lengths around its edges, and dispatch predicts times by it.
  virtual Tile tile(const Configuration& configuration) const = 0;
  // By default the flattened template and its instantiation for traits and configuration. Overridden by test
  // doubles.
  virtual KernelSource source(const Problem& problem, const Configuration& configuration) const;
};

std::string kernel_name(const Family& family, Op op);  // "simt.forward"
std::string to_text(const Family& family, Op op, const Configuration& configuration);
// Why the configuration can't run: the problem isn't served on the target, or the first rule of kind must
// that fails. Empty when it may be launched.
std::string misfit(const Family& family, const Problem& problem, const Configuration& configuration,
                   const Target& target);
// Reason of the first rule of any kind that fails; empty when a search may try the configuration.
std::string invalid_reason(const std::vector<Constraint>& constraints, const Problem& problem,
                           const Configuration& configuration, const Target& target);
std::string invalid_reason(const Family& family, const Problem& problem, const Configuration& configuration,
                           const Target& target);

// visit(name, value) for every member of Traits, in their order: literals and tuned data as JSON follow from
// it.
template <typename Visit>
void visit_traits(const Traits& t, Visit&& visit) {
  visit("dtype", t.dtype);
  visit("head_dim", t.head_dim);
  visit("causal", t.causal);
  visit("key_mask", t.key_mask);
  visit("bias", t.bias);
  visit("head_scale", t.head_scale);
  visit("l2norm_qk", t.l2norm_qk);
  visit("groups", t.groups);
  visit("tf32", t.tf32);
  visit("softmax", t.softmax);
}
std::string_view to_text(Softmax softmax);  // "fixed_bound"
// The problem with the fields that kernels know at compile time.
Problem with_traits(Problem problem, const Traits& traits);

// C++ spelling of a compile-time value, for name expressions and emitted headers:
//   fcsa::kernels::Traits{.dtype=fcsa::kernels::DType::f32,.head_dim=64,...}
std::string traits_literal(const Traits& traits);
std::string config_literal(const std::string& config_type, const Configuration& configuration);

// Text of an embedded kernel source ("kernels/simt/forward.cuh") with its quoted includes inlined, each once,
// and
// `#pragma once` dropped. Throws std::out_of_range for a path that is not embedded.
std::string flattened_source(const std::string& path);
// The same, leaving out files already in `included` and adding those it inlines.
std::string flattened_source(const std::string& path, std::set<std::string>& included);

// All families of this build, in order of preference (kernels/families.cpp).
const std::vector<std::unique_ptr<Family>>& families();
// Throws std::invalid_argument listing the names there are.
const Family& family_named(std::string_view name);
const Family& family_of_kernel(std::string_view kernel);  // "simt.forward" or "simt.forward{...}"
Op op_of_kernel(std::string_view kernel);

// What the text of a configuration says.
struct Kernel {
  const Family* family = nullptr;
  Op op = Op::forward;
  Configuration configuration;
};
// "simt.forward{warps=8}". Throws std::invalid_argument for a family or an operation that this build doesn't
// have, and for what configuration_from_text() refuses.
Kernel parse_kernel(std::string_view text);

}  // namespace fcsa::kernels
