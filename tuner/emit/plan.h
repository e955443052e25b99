// Which kernels go into a tuned header: the chosen configurations of what was tuned, and for the problems
// next to it (causal or not, masked or not, any scale, raw q and k) one configuration each, so that a header
// serves them too. Forward and backward are planned alike, each from what was tuned of it.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "tuner/dispatch/dispatch.h"

namespace fcsa::tuner {

// Of a backward pass, what traits don't say. Which of them a kernel serves is said of each kernel; any serves
// the gradient of the scale.
struct Demands {
  bool bias_gradient = false, scale_gradient = false, deterministic = false;
  bool operator==(const Demands&) const = default;
  std::size_t index() const { return 2 * std::size_t{deterministic} + std::size_t{bias_gradient}; }
};

// A kernel to be compiled.
struct EmittedVariant {
  const kernels::Family* family = nullptr;
  kernels::Traits traits;
  kernels::Configuration configuration;
  kernels::Problem problem;   // of the operation and these traits: one that it is valid for
  std::string tuned_as = {};  // class text; empty when it wasn't tuned
  // For each Demands::index(): whether it may be launched for problems that want that.
  std::array<bool, 4> serves = {};
};

struct EmittedShape {
  kernels::Problem problem;
  std::size_t variant = 0;  // index into EmitPlan::variants
  double time_ms = 0;       // measured, of the variant
  double best_ms = 0;       // of the best configuration
  double baseline_ms = 0;   // of the family's baseline; 0 when not measured
  kernels::Position position = {};
  std::vector<float> corrections = {};  // of the class's candidates: kernels::Rule
};

// What is chosen among where a shape wasn't tuned.
struct EmittedCandidate {
  std::size_t variant = 0;
  kernels::Model model;
};

// Problems with equal traits and demands.
struct EmittedClass {
  kernels::Op op = kernels::Op::forward;
  kernels::Traits traits;
  Demands demands = {};                    // as tuned
  std::vector<std::string> tuned_as = {};  // class texts; empty for a class that wasn't tuned
  std::vector<EmittedShape> shapes = {};   // empty for a class that wasn't tuned
  std::vector<EmittedCandidate> candidates = {};
  std::size_t default_variant = 0;
  double worst_regret = 0;
};

struct EmitPlan {
  std::vector<EmittedVariant> variants;  // those of tuned classes first
  std::vector<EmittedClass> classes;     // tuned ones first
  std::size_t tuned_variants = 0, tuned_classes = 0;
  int multiprocessors = 1;  // of the device that was tuned
};

// Which problems a file serves: those that were tuned, or also those next to them.
enum class Serve { tuned, neighbours };

bool has_op(const EmitPlan& plan, kernels::Op op);
// Whether all kernels of the class may be launched for problems that want that.
bool serves(const EmitPlan& plan, const EmittedClass& c, const Demands& demands);

// Index into EmitPlan::variants; added where it isn't among them, with what it serves on the target.
std::size_t add_variant(EmitPlan& plan, EmittedVariant variant, const kernels::Target& target);

// Throws std::runtime_error when there is nothing to emit, std::invalid_argument for a configuration of a
// family that this build doesn't have.
EmitPlan plan_emission(const DispatchTable& table, Serve serve = Serve::neighbours);

// The same problems for another instruction set of the same device, where nothing was tuned: baselines, and
// only the running maximum and every demand, which serve all. Classes that serve what was tuned come first
// and count as tuned.
EmitPlan plan_fallback(const EmitPlan& tuned, const kernels::Target& target);

}  // namespace fcsa::tuner
