// Which problems a kernel has to pass before it is timed.
#include <algorithm>

#include "runner/verification.h"

namespace fcsa::runner {
namespace {

using kernels::Layout;
using kernels::Problem;

constexpr int kLargestTile = 256;

struct Shape {
  int nq, nk, batch, heads, kv_heads;
  Layout layout;
  Values values;
};

// Around the edges of the tile first, then shapes that every configuration shares, so that their references
// are computed once for all of them.
std::vector<Shape> shapes(const kernels::Tile& tile) {
  const int rows = std::clamp(tile.rows, 1, kLargestTile), keys = std::clamp(tile.keys, 1, kLargestTile);
  return {
      {rows, keys, 1, 1, 1, Layout::bhnd, Values::normal},
      {rows + 1, keys + 1, 1, 2, 2, Layout::bnhd, Values::normal},
      {std::max(rows - 1, 1), 2 * keys - 1, 1, 1, 1, Layout::bhnd, Values::dominant_key},
      {2 * rows + 1, std::max(keys - 1, 1), 1, 2, 1, Layout::bhnd, Values::normal},
      {1, 3 * keys + 1, 2, 4, 2, Layout::bnhd, Values::normal},
      {1, 1, 1, 1, 1, Layout::bhnd, Values::normal},
      {5, 1, 2, 2, 1, Layout::bnhd, Values::normal},
      {37, 101, 2, 4, 2, Layout::bnhd, Values::tiny_rows},
      {101, 37, 1, 4, 2, Layout::bhnd, Values::large_rows},
      {64, 64, 1, 2, 2, Layout::bhnd, Values::zero_rows},
      {48, 320, 1, 2, 1, Layout::bnhd, Values::large_rows},
      {130, 257, 2, 4, 2, Layout::bhnd, Values::dominant_key},
      {40, 72, 2, 2, 1, Layout::bnhd, Values::opposed},
      {40, 72, 1, 2, 2, Layout::bhnd, Values::repeated_keys},
      {70, 90, 2, 2, 1, Layout::bhnd, Values::one_visible_key},
      {66, 131, 2, 4, 2, Layout::bhnd, Values::large_bias},
  };
}

Check make_check(const kernels::Family& family, const Problem& problem,
                 const kernels::Configuration& configuration) {
  return {.problem = problem,
          .plan = family.plan(kernels::traits_of(problem), configuration, kernels::shape_args(problem))};
}

}  // namespace

std::vector<Check> small_checks(const kernels::Family& family, const Problem& problem,
                                const kernels::Configuration& configuration, std::uint64_t seed) {
  std::vector<Check> checks;
  for (const Shape& shape : shapes(family.tile(configuration))) {
    Problem small = problem;
    small.nq = shape.nq;
    small.nk = shape.nk;
    small.batch = shape.batch;
    small.heads = shape.heads;
    small.kv_heads = shape.kv_heads;
    small.layout = shape.layout;
    // Whatever the problem has, its kernel serves a bias that is broadcast and one that is not.
    const bool broadcast = problem.bias != kernels::Bias::none && checks.size() % 2 == 1;
    small.bias_batch = small.bias_heads = broadcast ? 1 : 0;
    Values values = shape.values;
    // The lengths matter still, but not where all was about a mask or a bias that the problem lacks.
    if (!apply_to(values, small)) {
      if (values == Values::one_visible_key || values == Values::large_bias) continue;
      values = Values::normal;
    }
    Check check = make_check(family, small, configuration);
    check.values = values;
    check.seed = seed;
    checks.push_back(check);
  }
  return checks;
}

Check full_check(const kernels::Family& family, const Problem& problem,
                 const kernels::Configuration& configuration, std::uint64_t seed) {
  Check check = make_check(family, problem, configuration);
  check.seed = seed;
  return check;
}

}  // namespace fcsa::runner
