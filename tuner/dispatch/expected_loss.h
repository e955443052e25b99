// What a choice costs that nobody measured.
#pragma once

#include <optional>

#include "tuner/dispatch/dispatch.h"

namespace fcsa::tuner {

// How much slower than the best that a search would find: 0.1 is 10%.
struct LossModel {
  double per_octave = 0;  // as far as shapes were left out of the table
  double reach = 0;       // octaves: beyond, nothing is known but what kUnknownLoss says

  double at(double octaves) const;
};

// An octave, beyond what was left out: a rough guess after what shapes of real models lost on an H200 with a
// table of squares, no fit.
inline constexpr double kUnknownLoss = 0.2;

// From what each shape loses that is left out of the class, and how far it is from the others.
LossModel loss_model(const DispatchClass& dispatch);

// Of a choice by choose(). Exact: as measured. By default, where nothing like it was tuned: none.
std::optional<double> expected_loss(const DispatchTable& table, const Choice& choice,
                                    const kernels::Problem& problem, const kernels::DeviceInfo& device);

}  // namespace fcsa::tuner
