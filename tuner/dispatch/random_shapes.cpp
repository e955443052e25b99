#include "tuner/dispatch/random_shapes.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fcsa::tuner {
namespace {

using kernels::Problem;

constexpr double kFewerHeads = 4;

struct Range {
  double least = std::numeric_limits<double>::infinity(), most = 0;
};

template <typename Value>
Range range_of(const std::vector<Problem>& problems, const Value& value) {
  Range range;
  for (const auto& problem : problems) {
    range.least = std::min(range.least, static_cast<double>(value(problem)));
    range.most = std::max(range.most, static_cast<double>(value(problem)));
  }
  return range;
}

// [0, 1); std::uniform_real_distribution differs between libraries.
double uniform(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) * 0x1p-53;
}

int draw(Range range, std::mt19937_64& random) {
  const double drawn = range.least * std::pow(std::max(range.most / range.least, 1.0), uniform(random));
  return static_cast<int>(std::lround(std::clamp(drawn, range.least, std::max(range.least, range.most))));
}

double elements_of_head(const Problem& p) {
  return p.nq + 2.0 * p.nk * p.kv_heads / p.heads;
}

}  // namespace

Problem random_shape(const std::vector<Problem>& tuned, std::mt19937_64& random) {
  Problem shape = tuned[random() % tuned.size()];
  const bool square = std::all_of(tuned.begin(), tuned.end(), [](const auto& p) { return p.nq == p.nk; });
  const bool blind = std::any_of(tuned.begin(), tuned.end(), [](const auto& p) { return p.nq > p.nk; });
  const int group = shape.heads / shape.kv_heads;
  shape.nk = draw(range_of(tuned, [](const auto& p) { return p.nk; }), random);
  Range queries = range_of(tuned, [](const auto& p) { return p.nq; });
  if (!blind) queries.most = std::min<double>(queries.most, shape.nk);
  shape.nq = square ? shape.nk : draw(queries, random);
  Range heads = range_of(tuned, [](const auto& p) { return p.batch * p.heads; });
  const double elements =
      range_of(tuned, [](const auto& p) { return p.batch * p.heads * elements_of_head(p); }).most;
  heads.most = std::min(heads.most, elements / elements_of_head(shape));
  const int total = draw(heads, random);
  const Range own = range_of(tuned, [](const auto& p) { return p.heads; });
  const double fewest = std::max(1.0, own.least / kFewerHeads / group);
  shape.kv_heads = draw({fewest, std::max(fewest, std::min<double>(own.most, total) / group)}, random);
  shape.heads = shape.kv_heads * group;
  shape.batch = std::max(1, total / shape.heads);
  if (shape.bias_batch > 1) shape.bias_batch = 0;
  return shape;
}

}  // namespace fcsa::tuner
