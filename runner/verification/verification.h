// Is a kernel right? Nothing is timed before it has passed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/family.h"
#include "runner/verification/inputs.h"

namespace fcsa::runner {

inline constexpr double kFullReferenceFlops = 2e9;

// One problem to run and compare. The plan is made by the parent, so a worker needs no family.
struct Check {
  kernels::Problem problem;
  kernels::LaunchPlan plan = {};
  Values values = Values::normal;
  Placement placement = Placement::dense;  // what the plan was made for
  std::uint64_t seed = 1;
  double reference_flops = kFullReferenceFlops;  // what the rows compared may cost
  int launches = 1;                              // more: all have to give the same bits
  std::vector<int> key_lengths = {};             // of make_inputs()
};

// Small adversarial problems with the traits of `problem` (so that one binary serves them all): lengths at
// tile +-1, off, and of many tiles, Nq != Nk both ways (also rows that see no key when causal), grouped
// heads, every kind of Values that applies, tiles that the mask hides in front of others and between them,
// both layouts and every Placement, a bias of each batch and head, of some and of all.
std::vector<Check> small_checks(const kernels::Family& family, const kernels::Problem& problem,
                                const kernels::Configuration& configuration, std::uint64_t seed);
// The tuned shape itself, dense where it is measured.
Check full_check(const kernels::Family& family, const kernels::Problem& problem,
                 const kernels::Configuration& configuration, std::uint64_t seed,
                 Placement placement = Placement::dense);

struct CheckResult {
  bool ok = false;
  // Forward: max over rows of ||o - ref|| / max(||ref||, rms row norm). Backward: that of the gradient which
  // comes closest to its tolerance, relative to the terms of its rows (gradient_comparison.h).
  double error = 0;
  double tolerance = 0;      // what roundings do to that row, or more where a plain implementation needs more
  std::string message = {};  // which problem, which output, where and by how much; empty when ok
};

// Runs checks on one device. Keeps the expensive parts (inputs on the device, the fp64 reference, the
// tolerance) of the latest problems, so that checking many candidates of each computes them once: of large
// ones as many as a part of the device's memory and of the host's holds, at least one.
class Verifier {
 public:
  explicit Verifier(Device& device);
  ~Verifier();

  // Inputs that nobody sees are NaN (hide_with_nan). Poisons the outputs, the workspace and the scratch, runs
  // the plan, checks guards, finiteness of every output, and rows against fp64: all rows where the reference
  // costs under `reference_flops`, else a seeded sample that includes the first and the last rows of every
  // head and the tile boundaries. NaN never passes. Then launches again as often as the check says, or three
  // times in all where the problem promises the same bits, and compares all outputs bit by bit.
  CheckResult run(const Module& module, const Check& check);
  // The tensors of a problem, for measuring on what was verified. They stay where they are until another
  // check is run or asked for.
  DeviceTensors& tensors(const Check& check);
  // Drops what is kept of all others than this one. False, and nothing is dropped, where they hold less than
  // `bytes` on the device, or nothing is kept.
  bool forget_others(const Check& check, std::size_t bytes);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fcsa::runner
