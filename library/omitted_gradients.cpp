#include "library/omitted_gradients.h"

#include <algorithm>

namespace fcsa::library {
namespace {

bool launches(const kernels::LaunchPlan& plan, int kernel) {
  return std::any_of(plan.steps, plan.steps + plan.count,
                     [&](const kernels::Launch& step) { return step.kernel == kernel; });
}

// Appends a dense gradient of so many rows to the workspace; returns where it is.
std::size_t append(GradientScratch& scratch, const Request& request, long long heads, long long rows) {
  const std::size_t at = scratch.bytes;
  const auto bytes = static_cast<std::size_t>(kernels::element_bytes(request.problem.dtype)) *
                     static_cast<std::size_t>(request.args.batch * heads * rows) *
                     static_cast<std::size_t>(request.problem.head_dim);
  scratch.bytes += (bytes + 255) / 256 * 256;
  return at;
}

}  // namespace

void GradientScratch::place(kernels::BackwardArgs& args) const {
  const auto at = [&](std::size_t offset) { return static_cast<unsigned char*>(args.workspace) + offset; };
  if (dq != 0) args.dq = at(dq);
  if (dk != 0) args.dk = at(dk);
  if (dv != 0) args.dv = at(dv);
}

kernels::LaunchPlan without_omitted(const kernels::LaunchPlan& plan, const kernels::GradientKernels& kernels,
                                    const Request& request) {
  // Kernels that compute them leave parts of these.
  if (request.args.wants_dbias || request.args.wants_dscale) return plan;
  kernels::LaunchPlan left = plan;
  const auto end = std::remove_if(left.steps, left.steps + left.count, [&](const kernels::Launch& step) {
    return (step.kernel == kernels.queries && request.omits_dq) ||
           (step.kernel == kernels.keys && request.omits_dk && request.omits_dv);
  });
  left.count = static_cast<int>(end - left.steps);
  return left;
}

GradientScratch scratch_for(const kernels::LaunchPlan& plan, const kernels::GradientKernels& kernels,
                            const Request& request, std::size_t bytes) {
  // An offset of 0 says that there is none.
  GradientScratch scratch{.bytes = std::max<std::size_t>(bytes, 256)};
  const kernels::BackwardArgs& a = request.args;
  const bool keys = kernels.keys < 0 || plan.count == 0 || launches(plan, kernels.keys);
  const bool queries = kernels.queries < 0 || plan.count == 0 || launches(plan, kernels.queries);
  if (request.omits_dq && queries) scratch.dq = append(scratch, request, a.heads, a.nq);
  if (request.omits_dk && keys) scratch.dk = append(scratch, request, a.kv_heads, a.nk);
  if (request.omits_dv && keys) scratch.dv = append(scratch, request, a.kv_heads, a.nk);
  if (scratch.dq == 0 && scratch.dk == 0 && scratch.dv == 0) scratch.bytes = bytes;
  return scratch;
}

}  // namespace fcsa::library
