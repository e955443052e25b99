#include "tuner/search/known_configurations.h"

#include <algorithm>
#include <cmath>

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

// None where no class of the table has kernels of the same structure.
const DispatchClass* nearest_class(const DispatchTable& table, const kernels::Problem& problem) {
  const DispatchClass* nearest = nullptr;
  std::optional<int> least;
  for (const auto& dispatch : table.classes) {
    if (dispatch.entries.empty()) continue;
    const auto distance = class_distance(dispatch.entries.front().problem, problem);
    if (!distance || (least && *distance >= *least)) continue;
    least = distance;
    nearest = &dispatch;
  }
  return nearest;
}

}  // namespace

double shape_distance(const kernels::Problem& a, const kernels::Problem& b) {
  const auto squared_log_ratio = [](double x, double y) { return std::pow(std::log2(x / y), 2); };
  return squared_log_ratio(a.nq, b.nq) + squared_log_ratio(a.nk, b.nk) +
         squared_log_ratio(static_cast<double>(a.batch) * a.heads, static_cast<double>(b.batch) * b.heads);
}

std::optional<int> class_distance(const kernels::Problem& a, const kernels::Problem& b) {
  if (a.op != b.op || a.head_dim != b.head_dim ||
      kernels::element_bytes(a.dtype) != kernels::element_bytes(b.dtype))
    return std::nullopt;
  int differing = 0;
  kernels::visit_problem(
      [&](const auto& field, const auto& x, const auto& y) {
        if (field.scope == kernels::Scope::kind && !(x == y)) ++differing;
      },
      a, b);
  return differing;
}

std::vector<kernels::Configuration> known_configurations(const DispatchTable& table,
                                                         const kernels::Problem& problem, std::size_t count) {
  std::vector<kernels::Configuration> known;
  const auto* dispatch = nearest_class(table, problem);
  if (dispatch == nullptr) return known;
  for (const auto* entry : nearest_first(*dispatch, problem)) {
    auto configuration = kernels::parse_kernel(dispatch->configurations[entry->choice]).configuration;
    const bool listed = std::find(known.begin(), known.end(), configuration) != known.end();
    if (!listed && known.size() < count) known.push_back(std::move(configuration));
  }
  return known;
}

}  // namespace fcsa::tuner
