// Which problems a kernel has to pass before it is timed.
#include <algorithm>

#include "runner/verification/verification.h"

namespace fcsa::runner {
namespace {

using kernels::Layout;
using kernels::Problem;

constexpr int kLargestTile = 256;

// What the rows of long problems may cost in the reference: a sample of them.
constexpr double kLongReferenceFlops = 5e7;

struct Shape {
  int nq, nk, batch, heads, kv_heads;
  Layout layout;
  Values values;
  Placement placement = Placement::dense;
  double reference_flops = kFullReferenceFlops;
};

// Around the edges of the tile first, then shapes that every configuration shares, so that their references
// are computed once for all of them.
std::vector<Shape> shapes(const kernels::Tile& tile) {
  const int rows = std::clamp(tile.rows, 1, kLargestTile), keys = std::clamp(tile.keys, 1, kLargestTile);
  constexpr auto kDense = Placement::dense, kPadded = Placement::padded, kMixed = Placement::mixed,
                 kPacked = Placement::packed;
  constexpr auto kBhnd = Layout::bhnd, kBnhd = Layout::bnhd;
  return {
      {rows, keys, 1, 1, 1, kBhnd, Values::normal, kDense},
      {rows + 1, keys + 1, 1, 2, 2, kBnhd, Values::normal, kPadded},
      {std::max(rows - 1, 1), 2 * keys - 1, 1, 1, 1, kBhnd, Values::dominant_key, kMixed},
      {2 * rows + 1, std::max(keys - 1, 1), 1, 2, 1, kBhnd, Values::normal, kPacked},
      {1, 3 * keys + 1, 2, 4, 2, kBnhd, Values::normal, kMixed},
      // Whole tiles that the mask hides: the first ones, and some between others.
      {21, 4 * keys + 3, 2, 2, 1, kBnhd, Values::large_rows, kPadded},
      {rows + 3, 4 * keys + 3, 1, 2, 2, kBhnd, Values::tiny_rows, kDense},
      // Many tiles and a part of one, both ways.
      {8 * rows + 5, 8 * keys + 5, 1, 2, 1, kBnhd, Values::large_bias, kPadded, kLongReferenceFlops},
      {1, 1, 1, 1, 1, kBhnd, Values::normal, kDense},
      {5, 1, 2, 2, 1, kBhnd, Values::normal, kPadded},
      {37, 101, 2, 4, 2, kBnhd, Values::tiny_rows, kMixed},
      {101, 37, 1, 4, 2, kBhnd, Values::large_rows, kPacked},
      {64, 64, 2, 2, 2, kBhnd, Values::clamped_rows, kDense},
      {48, 320, 1, 2, 1, kBnhd, Values::huge_rows, kPadded},
      {130, 257, 2, 4, 2, kBhnd, Values::dominant_key, kMixed},
      {40, 72, 2, 2, 1, kBnhd, Values::opposed, kPacked},
      {40, 72, 1, 2, 2, kBhnd, Values::repeated_keys, kMixed},
      {70, 90, 2, 2, 1, kBhnd, Values::one_visible_key, kDense},
      {66, 131, 4, 4, 2, kBnhd, Values::large_bias, kMixed},
      {66, 131, 2, 4, 2, kBhnd, Values::large_bias, kDense},
  };
}

// Whatever bias the problem has, its kernel serves one that every batch and head has for itself, one that all
// share, and one that some batches share (of four, so that b mod 2 differs from b / 2).
void share_bias(Problem& small, std::size_t check) {
  small.bias_batch = small.bias_heads = 0;
  if (small.bias == kernels::Bias::none) return;
  if (small.batch == 4) {
    small.bias_batch = 2;
  } else if (check % 2 == 1) {
    small.bias_batch = small.bias_heads = 1;
  }
}

Check make_check(const kernels::Family& family, const Problem& problem,
                 const kernels::Configuration& configuration, Placement placement) {
  Check check{.problem = problem, .placement = placement};
  check.plan = family.plan(kernels::traits_of(problem), configuration, placed_args(problem, placement));
  return check;
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
    share_bias(small, checks.size());
    Values values = values_for(family.device_kind(), shape.values);
    // The lengths matter still, but not where all was about a mask or a bias that the problem lacks.
    if (!apply_to(values, small)) {
      const bool about_lengths = shape.reference_flops == kLongReferenceFlops;
      if (values == Values::one_visible_key || (values == Values::large_bias && !about_lengths)) continue;
      values = Values::normal;
    }
    Check check = make_check(family, small, configuration, shape.placement);
    check.values = values;
    check.seed = seed;
    check.reference_flops = shape.reference_flops;
    checks.push_back(check);
  }
  return checks;
}

Check full_check(const kernels::Family& family, const Problem& problem,
                 const kernels::Configuration& configuration, std::uint64_t seed, Placement placement) {
  Check check = make_check(family, problem, configuration, placement);
  check.seed = seed;
  return check;
}

}  // namespace fcsa::runner
