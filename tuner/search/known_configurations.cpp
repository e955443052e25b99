#include "tuner/search/known_configurations.h"

#include <algorithm>

#include "tuner/search/problem_search.h"

namespace fcsa::tuner {
namespace {

std::vector<const DispatchEntry*> nearest_first(const DispatchClass& dispatch,
                                                const kernels::Problem& problem) {
  std::vector<const DispatchEntry*> entries;
  for (const auto& entry : dispatch.entries) entries.push_back(&entry);
  std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
    return shape_distance(a->problem, problem) < shape_distance(b->problem, problem);
  });
  return entries;
}

kernels::Configuration configuration_of(const std::string& text, kernels::Op op) {
  const auto& family = kernels::family_of_kernel(text);
  return kernels::configuration_from_text(text, kernels::kernel_name(family, op), family.parameters(op));
}

}  // namespace

std::vector<kernels::Configuration> known_configurations(const DispatchTable& table,
                                                         const kernels::Problem& problem, std::size_t count) {
  std::vector<kernels::Configuration> known;
  for (const auto& dispatch : table.classes) {
    if (dispatch.class_text != kernels::class_text(problem)) continue;
    for (const auto* entry : nearest_first(dispatch, problem)) {
      auto configuration = configuration_of(dispatch.configurations[entry->choice], problem.op);
      const bool listed = std::find(known.begin(), known.end(), configuration) != known.end();
      if (!listed && known.size() < count) known.push_back(std::move(configuration));
    }
  }
  return known;
}

}  // namespace fcsa::tuner
