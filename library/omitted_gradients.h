// What of a backward pass is done for gradients that nobody wants.
#pragma once

#include <cstddef>

#include "kernels/family.h"
#include "library/request.h"

namespace fcsa::library {

// Of dq, dk and dv, where in the workspace each is that is omitted and written all the same; 0: it isn't
// written.
struct GradientScratch {
  std::size_t dq = 0, dk = 0, dv = 0;
  std::size_t bytes = 0;  // of the workspace with these

  void place(kernels::BackwardArgs& args) const;
};

// The plan without launches that compute only what the request omits.
kernels::LaunchPlan without_omitted(const kernels::LaunchPlan& plan, const kernels::GradientKernels& kernels,
                                    const Request& request);
// Behind the first `bytes` of the workspace, for what a plan that without_omitted() returned still writes.
GradientScratch scratch_for(const kernels::LaunchPlan& plan, const kernels::GradientKernels& kernels,
                            const Request& request, std::size_t bytes);

}  // namespace fcsa::library
