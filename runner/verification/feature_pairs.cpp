#include "runner/verification/feature_pairs.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>
#include <optional>
#include <random>
#include <tuple>

namespace fcsa::runner {
namespace {

using kernels::Bias;
using kernels::DType;
using kernels::Layout;
using kernels::Problem;

enum Feature {
  kArithmetic,
  kHeadDim,
  kCausal,
  kMask,
  kBias,
  kBiasSize,
  kHeadScale,
  kGroups,
  kNormalised,
  kScale,
  kHeads,
  kLayout,
  kPlacement,
  kNq,
  kNk,
  kValues,
  kBiasGradient,  // from here on of the backward pass only
  kScaleGradient,
  kDeterministic,
  kFeatures
};

int features_of(kernels::Op op) {
  return op == kernels::Op::forward ? kBiasGradient : kFeatures;
}

struct Arithmetic {
  DType dtype;
  bool tf32;
};
struct Heads {
  int heads, kv_heads;
};
enum BiasSize { kFull, kSharedByBatches, kSharedByHeads, kSharedByAll, kBiasSizes };
enum Scale { kScale8, kScale100, kStatedBound, kScales };

constexpr Arithmetic kArithmetics[] = {
    {DType::f32, false}, {DType::f32, true}, {DType::bf16, false}, {DType::f16, false}};
constexpr int kHeadDims[] = {16, 32, 64, 80, 96, 128, 192, 256};
constexpr Bias kBiases[] = {Bias::none, Bias::same, Bias::f32};
constexpr int kGroupCounts[] = {1, 2, 4};
constexpr Heads kHeadCounts[] = {{2, 2}, {4, 2}, {4, 1}};
constexpr int kLengths[] = {1, 63, 64, 65, 127, 200, 1000, 4097};

constexpr int count(Feature feature) {
  switch (feature) {
    case kArithmetic:
      return std::size(kArithmetics);
    case kHeadDim:
      return std::size(kHeadDims);
    case kBias:
      return std::size(kBiases);
    case kBiasSize:
      return kBiasSizes;
    case kGroups:
      return std::size(kGroupCounts);
    case kScale:
      return kScales;
    case kHeads:
      return std::size(kHeadCounts);
    case kPlacement:
      return std::size(kAllPlacements);
    case kNq:
    case kNk:
      return std::size(kLengths);
    case kValues:
      return std::size(kAllValues);
    default:
      return 2;
  }
}

// For each feature, which of its values; kOpen where that is not decided yet.
using Row = std::array<int, kFeatures>;
constexpr int kOpen = -1;

// Whether a row can still become a problem with values that apply to it.
bool allowed(const Row& row) {
  const bool no_bias = row[kBias] != kOpen && kBiases[row[kBias]] == Bias::none;
  if (no_bias && (row[kBiasSize] > kFull || row[kBiasGradient] == 1)) return false;
  if (row[kValues] == kOpen) return true;
  const Values values = kAllValues[row[kValues]];
  return !(no_bias && values == Values::large_bias) &&
         !(row[kMask] == 0 && values == Values::one_visible_key);
}

struct Pair {
  int a, value_a, b, value_b;

  bool in(const Row& row) const { return row[a] == value_a && row[b] == value_b; }
  Row row() const {
    Row row;
    row.fill(kOpen);
    row[a] = value_a;
    row[b] = value_b;
    return row;
  }
};

std::vector<Pair> all_pairs(kernels::Op op) {
  std::vector<Pair> pairs;
  for (int a = 0; a < features_of(op); ++a)
    for (int b = a + 1; b < features_of(op); ++b)
      for (int i = 0; i < count(Feature(a)); ++i)
        for (int j = 0; j < count(Feature(b)); ++j)
          if (const Pair pair{a, i, b, j}; allowed(pair.row())) pairs.push_back(pair);
  return pairs;
}

long covered(const std::vector<Pair>& pairs, const Row& row) {
  return std::count_if(pairs.begin(), pairs.end(), [&](const Pair& pair) { return pair.in(row); });
}

// A row around a pair: the other features in random order, each with the value that covers most of what is
// missing.
Row draw_row(kernels::Op op, const Pair& around, const std::vector<Pair>& missing, std::mt19937_64& random) {
  Row row = around.row();
  std::vector<int> order(static_cast<std::size_t>(features_of(op)));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  for (const int feature : order) {
    if (row[feature] != kOpen) continue;
    const int values = count(Feature(feature)), first = static_cast<int>(random() % values);
    long most = -1;
    Row best = row;
    for (int i = 0; i < values; ++i) {
      Row wider = row;
      wider[feature] = (first + i) % values;
      if (const long gain = allowed(wider) ? covered(missing, wider) : -1; gain > most)
        std::tie(most, best) = std::pair(gain, wider);
    }
    row = best;
  }
  return row;
}

// A stated bound leaves a quarter of itself to a bias, and is within what a fixed bound may be.
void set_scale(Problem& p, int kind) {
  if (kind != kStatedBound) {
    p.scale = kind == kScale8 ? 8.0f : 100.0f;
    return;
  }
  p.logit_bound = p.dtype == DType::f16 ? 10.0f : 40.0f;
  p.scale = 0.75f * *p.logit_bound / static_cast<float>(p.groups);
}

void set_sizes(Problem& p, const Row& row) {
  p.nq = kLengths[row[kNq]];
  p.nk = kLengths[row[kNk]];
  std::tie(p.heads, p.kv_heads) =
      std::pair(kHeadCounts[row[kHeads]].heads, kHeadCounts[row[kHeads]].kv_heads);
  // With four batches and two of the bias, b mod 2 differs from b / 2; longer problems save time and memory.
  p.batch = 1LL * p.nq * p.nk <= 50'000 ? 4 : 2;
  const int size = row[kBiasSize];
  p.bias_batch = size == kSharedByBatches || size == kSharedByAll ? p.batch / 2 : 0;
  p.bias_heads = size == kSharedByHeads || size == kSharedByAll ? 1 : 0;
}

FeatureCase make_case(kernels::Op op, const Row& row) {
  Problem p;
  p.op = op;
  std::tie(p.dtype, p.allow_tf32) =
      std::pair(kArithmetics[row[kArithmetic]].dtype, kArithmetics[row[kArithmetic]].tf32);
  p.head_dim = kHeadDims[row[kHeadDim]];
  p.causal = row[kCausal] != 0;
  p.key_mask = row[kMask] != 0;
  p.bias = kBiases[row[kBias]];
  p.head_scale = row[kHeadScale] != 0;
  p.groups = kGroupCounts[row[kGroups]];
  p.l2norm_qk = row[kNormalised] != 0;
  p.layout = row[kLayout] != 0 ? Layout::bnhd : Layout::bhnd;
  p.bias_gradient = row[kBiasGradient] == 1;
  p.scale_gradient = row[kScaleGradient] == 1;
  p.deterministic = row[kDeterministic] == 1;
  set_scale(p, row[kScale]);
  set_sizes(p, row);
  return {p, kAllValues[row[kValues]], kAllPlacements[row[kPlacement]]};
}

using Serves = std::function<bool(const Problem&)>;

// A row around a pair, the other features at random, whose problem is served; none where many draws found
// none.
std::optional<Row> served_row(kernels::Op op, const Pair& pair, const Serves& serves,
                              std::mt19937_64& random) {
  constexpr int kDraws = 500;
  for (int i = 0; i < kDraws; ++i)
    if (const Row row = draw_row(op, pair, {}, random); serves(make_case(op, row).problem)) return row;
  return std::nullopt;
}

}  // namespace

std::vector<FeatureCase> feature_pairs(std::uint64_t seed, const Serves& serves, kernels::Op op) {
  constexpr int kTries = 16;
  std::mt19937_64 random(seed);
  std::vector<Pair> missing = all_pairs(op);
  if (serves) {
    std::mt19937_64 other(seed);  // so that families that serve everything have the same cases
    std::erase_if(missing, [&](const Pair& pair) { return !served_row(op, pair, serves, other); });
  }
  std::vector<FeatureCase> cases;
  while (!missing.empty()) {
    const auto draw = [&]() -> std::optional<Row> {
      const Row row = draw_row(op, missing[random() % missing.size()], missing, random);
      return !serves || serves(make_case(op, row).problem) ? std::optional(row) : std::nullopt;
    };
    std::optional<Row> best;
    for (int i = 0; i < kTries; ++i)
      if (const auto row = draw(); row && (!best || covered(missing, *row) > covered(missing, *best)))
        best = row;
    if (!best) best = served_row(op, missing[random() % missing.size()], serves, random);
    if (!best) continue;
    std::erase_if(missing, [&](const Pair& pair) { return pair.in(*best); });
    cases.push_back(make_case(op, *best));
  }
  return cases;
}

}  // namespace fcsa::runner
