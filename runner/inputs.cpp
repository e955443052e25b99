#include "runner/inputs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <optional>

#include "kernels/reference/elements.h"
#include "kernels/reference/parallel_for.h"
#include "runner/forward_results.h"
#include "runner/random_bits.h"

namespace fcsa::runner {
namespace {

using kernels::DType;
using kernels::Problem;
using kernels::Strides;

constexpr std::size_t kRowsAtATime = 1024;
constexpr float kLargeBias = 60.0f;

enum Stream : std::uint64_t {
  kQ = 1,
  kK,
  kV,
  kMask,
  kBias,
  kHeadScale,
  kRowKind,
  kDominant,
  kBiasEntry,
  kDout
};

std::size_t storage_bytes(DType dtype, std::size_t elements) {
  return elements * static_cast<std::size_t>(kernels::element_bytes(dtype));
}

std::size_t query_rows(const Problem& p) {
  return static_cast<std::size_t>(p.batch) * p.heads * p.nq;
}
std::size_t key_rows(const Problem& p) {
  return static_cast<std::size_t>(p.batch) * p.kv_heads * p.nk;
}

// A tensor of rows of `dim` normal values; `adjust(row, values)` may change a row before it is stored.
template <typename Adjust>
std::vector<unsigned char> draw_rows(DType dtype, std::size_t rows, int dim, const Bits& bits,
                                     const Adjust& adjust) {
  const auto width = static_cast<std::size_t>(dim);
  std::vector<unsigned char> data(storage_bytes(dtype, rows * width));
  kernels::parallel_for((rows + kRowsAtATime - 1) / kRowsAtATime, [&](std::size_t block) {
    std::vector<float> values(width);
    for (std::size_t row = block * kRowsAtATime; row < std::min(rows, (block + 1) * kRowsAtATime); ++row) {
      for (std::size_t d = 0; d < width; ++d) values[d] = bits.normal(row * width + d);
      adjust(row, values);
      kernels::store_elements(dtype, data.data(), static_cast<long long>(row) * dim, dim, values.data());
    }
  });
  return data;
}

// The largest of a bias: with a promised bound, what the products leave of it. A caller who promises less
// than normalised rows can reach is taken to know that they don't: the bias has a quarter then, as with raw
// rows.
float largest_bias(const Problem& p) {
  if (!p.logit_bound) return kLargeBias;
  const float products = p.l2norm_qk ? std::fabs(p.scale) * static_cast<float>(p.groups) : *p.logit_bound;
  return std::min(kLargeBias, std::max(*p.logit_bound - products, *p.logit_bound / 4));
}

// Norm that rows of raw q and k may have; nothing where they are normalised. A caller who promises a bound
// keeps it: |scale| |q| |k| <= bound, less what a bias may add. Otherwise logits end at 1e4, where f32 still
// tells 1e-3 apart.
std::optional<float> largest_norm(const Problem& p) {
  if (p.l2norm_qk || p.scale == 0) return std::nullopt;
  const float room = p.bias == kernels::Bias::none ? 0.99f : 0.74f;
  return std::sqrt(p.logit_bound.value_or(1e4f) * room / std::fabs(p.scale));
}

void limit_norm(std::vector<float>& row, float largest) {
  float squares = 0;
  for (const float x : row) squares += x * x;
  const float norm = std::sqrt(squares);
  if (norm <= largest) return;
  for (float& x : row) x *= largest / norm;
}

float factor_of_special_rows(Values values) {
  switch (values) {
    case Values::tiny_rows:
      return 1e-3f;
    case Values::large_rows:
      return 1e3f;
    case Values::zero_rows:
      return 0.0f;
    default:
      return 1.0f;
  }
}

// Rows of q and k. One row in four is left as it is drawn, so that neighbours differ in norm by a factor of
// 1e3.
std::vector<unsigned char> draw_qk(const Problem& p, Values values, std::uint64_t seed, Stream stream) {
  const Bits kinds(seed, kRowKind ^ (stream << 8));
  const std::optional<float> norm = largest_norm(p);
  const float factor = factor_of_special_rows(values);
  const auto adjust = [&](std::size_t row, std::vector<float>& x) {
    if (kinds.at(row) % 4 != 0)
      for (float& v : x) v *= factor;
    if (norm) limit_norm(x, *norm);
  };
  return draw_rows(p.dtype, stream == kQ ? query_rows(p) : key_rows(p), p.head_dim, Bits(seed, stream),
                   adjust);
}

// Adversarial inputs hide a run of keys, so that whole tiles are hidden at one end.
std::vector<unsigned char> draw_mask(const Problem& p, Values values, std::uint64_t seed) {
  const Bits bits(seed, kMask);
  const auto nk = static_cast<std::size_t>(p.nk);
  std::vector<unsigned char> mask(static_cast<std::size_t>(p.batch) * nk);
  for (std::size_t i = 0; i < mask.size(); ++i) {
    const std::size_t key = i % nk;
    switch (values) {
      case Values::dominant_key:
      case Values::large_rows:
        mask[i] = key >= nk / 4;
        break;
      case Values::tiny_rows:
        mask[i] = key < nk - nk / 4;
        break;
      case Values::one_visible_key:
        break;
      default:
        mask[i] = bits.at(i) % 4 != 0;
    }
  }
  for (std::size_t batch = 0; batch < static_cast<std::size_t>(p.batch); ++batch) {
    const auto first = mask.begin() + static_cast<std::ptrdiff_t>(batch * nk);
    if (std::find(first, first + p.nk, 1) == first + p.nk)
      first[static_cast<std::ptrdiff_t>(bits.at(batch) % nk)] = 1;
  }
  return mask;
}

std::vector<unsigned char> draw_bias(const Problem& p, Values values, std::uint64_t seed) {
  if (p.bias == kernels::Bias::none) return {};
  const kernels::BackwardArgs shape = kernels::shape_args(p);
  const std::size_t rows = static_cast<std::size_t>(shape.bias_batch) * shape.bias_heads * p.nq;
  const Bits entries(seed, kBiasEntry);
  const float largest = largest_bias(p);
  const float factor = std::min(1.0f, largest / 3.5f);  // a normal value is below 3.5
  const auto adjust = [&](std::size_t row, std::vector<float>& x) {
    for (float& v : x) v *= factor;
    if (values != Values::large_bias) return;
    if (row % 4 == 0) std::fill(x.begin(), x.end(), largest);
    if (row % 4 == 1) x[entries.at(row) % x.size()] = largest;
  };
  return draw_rows(p.bias == kernels::Bias::f32 ? DType::f32 : p.dtype, rows, p.nk, Bits(seed, kBias),
                   adjust);
}

std::vector<float> draw_head_scale(const Problem& p, std::uint64_t seed) {
  if (!p.head_scale) return {};
  const Bits bits(seed, kHeadScale);
  std::vector<float> scale(static_cast<std::size_t>(p.heads));
  for (std::size_t h = 0; h < scale.size(); ++h)
    scale[h] = p.scale * (0.5f + static_cast<float>(bits.at(h) % 1024) / 2048.0f);
  return scale;
}

// Where the rows of one key/value head and of the queries that read it are.
class HeadRows {
 public:
  HeadRows(const Problem& problem, int index)
      : shape_(kernels::shape_args(problem)),
        batch_(index / problem.kv_heads),
        kv_head_(index % problem.kv_heads),
        group_(problem.heads / problem.kv_heads) {}

  int batch() const { return batch_; }
  int group() const { return group_; }
  long long query(int head, long long row) const {
    const kernels::Strides& s = shape_.q_strides;
    return batch_ * s.batch + (kv_head_ * group_ + head) * s.head + row * s.row;
  }
  long long key(long long row) const {
    const kernels::Strides& s = shape_.k_strides;
    return batch_ * s.batch + kv_head_ * s.head + row * s.row;
  }

 private:
  kernels::BackwardArgs shape_;
  int batch_, kv_head_, group_;
};

// In every key/value head one visible key and a quarter of the queries that read it get the direction of one
// query.
void add_dominant_keys(HostInputs& inputs, std::uint64_t seed) {
  const Problem& p = inputs.problem;
  const Bits bits(seed, kDominant);
  std::vector<float> row(static_cast<std::size_t>(p.head_dim)), half(row.size());
  for (int i = 0; i < p.batch * p.kv_heads; ++i) {
    const HeadRows at(p, i);
    const std::uint64_t random = bits.at(static_cast<std::uint64_t>(i));
    const auto from =
        at.query(static_cast<int>(random % at.group()), static_cast<long long>((random >> 16) % p.nq));
    kernels::load_elements(p.dtype, inputs.q.data(), from, p.head_dim, row.data());
    std::transform(row.begin(), row.end(), half.begin(), [](float x) { return x * 0.5f; });
    auto key = static_cast<long long>((random >> 40) % p.nk);
    while (p.key_mask && inputs.key_mask[static_cast<std::size_t>(at.batch() * p.nk + key)] == 0)
      key = (key + 1) % p.nk;
    kernels::store_elements(p.dtype, inputs.k.data(), at.key(key), p.head_dim, row.data());
    for (int head = 0; head < at.group(); ++head)
      for (int q = 0; q < p.nq; q += 4)
        kernels::store_elements(p.dtype, inputs.q.data(), at.query(head, q), p.head_dim,
                                q % 8 == 0 ? row.data() : half.data());
  }
}

// Every query of a key/value head gets the direction of the first, and every key the opposite; raw ones are
// as long as they may be.
void oppose_keys(HostInputs& inputs) {
  const Problem& p = inputs.problem;
  const std::optional<float> norm = largest_norm(p);
  std::vector<float> row(static_cast<std::size_t>(p.head_dim)), opposite(row.size());
  for (int i = 0; i < p.batch * p.kv_heads; ++i) {
    const HeadRows at(p, i);
    kernels::load_elements(p.dtype, inputs.q.data(), at.query(0, 0), p.head_dim, row.data());
    if (norm) {
      for (float& x : row) x *= 1e4f;
      limit_norm(row, *norm);
    }
    std::transform(row.begin(), row.end(), opposite.begin(), [](float x) { return -x; });
    for (int head = 0; head < at.group(); ++head)
      for (int q = 0; q < p.nq; ++q)
        kernels::store_elements(p.dtype, inputs.q.data(), at.query(head, q), p.head_dim, row.data());
    for (int k = 0; k < p.nk; ++k)
      kernels::store_elements(p.dtype, inputs.k.data(), at.key(k), p.head_dim, opposite.data());
  }
}

void repeat_keys(HostInputs& inputs) {
  const Problem& p = inputs.problem;
  std::vector<float> row(static_cast<std::size_t>(p.head_dim));
  for (int i = 0; i < p.batch * p.kv_heads; ++i) {
    const HeadRows at(p, i);
    kernels::load_elements(p.dtype, inputs.k.data(), at.key(0), p.head_dim, row.data());
    for (int k = 1; k < p.nk; ++k)
      kernels::store_elements(p.dtype, inputs.k.data(), at.key(k), p.head_dim, row.data());
  }
}

// Gradients of normalised rows grow with the scale and with 1/|q|, beyond what f16 holds where rows are tiny.
float dout_factor(const Problem& p, Values values) {
  if (p.dtype != DType::f16 || !p.l2norm_qk) return 1.0f;
  return (std::fabs(p.scale) > 16 ? 1.0f / 16 : 1.0f) * (values == Values::tiny_rows ? 1.0f / 32 : 1.0f);
}

// What the backward pass gets from the forward pass, and from what comes after it.
void add_backward_inputs(HostInputs& inputs, Values values, std::uint64_t seed) {
  const Problem& p = inputs.problem;
  const float factor = dout_factor(p, values);
  inputs.dout = draw_rows(p.dtype, query_rows(p), p.head_dim, Bits(seed, kDout),
                          [factor](std::size_t, std::vector<float>& row) {
                            for (float& x : row) x *= factor;
                          });
  add_forward_results(inputs, precision_for(p, values));
}

}  // namespace

std::string_view to_text(Values values) {
  constexpr std::array<std::string_view, std::size(kAllValues)> kNames = {
      "normal",  "dominant key",  "tiny rows",       "large rows", "zero rows",
      "opposed", "repeated keys", "one visible key", "large bias"};
  return kNames.at(static_cast<std::size_t>(values));
}

bool apply_to(Values values, const Problem& p) {
  switch (values) {
    case Values::one_visible_key:
      return p.key_mask;
    case Values::large_bias:
      return p.bias != kernels::Bias::none;
    case Values::dominant_key:
    case Values::opposed: {
      // Normalised rows that point the same way reach the largest product.
      if (!p.l2norm_qk || !p.logit_bound) return true;
      const float bias = p.bias == kernels::Bias::none ? 0.0f : largest_bias(p);
      return std::fabs(p.scale) * static_cast<float>(p.groups) + bias <= *p.logit_bound;
    }
    default:
      return true;
  }
}

HostInputs make_inputs(const Problem& problem, Values values, std::uint64_t seed) {
  HostInputs inputs;
  inputs.problem = problem;
  inputs.q = draw_qk(problem, values, seed, kQ);
  inputs.k = draw_qk(problem, values, seed, kK);
  inputs.v = draw_rows(problem.dtype, key_rows(problem), problem.head_dim, Bits(seed, kV),
                       [](std::size_t, std::vector<float>&) {});
  if (problem.key_mask) inputs.key_mask = draw_mask(problem, values, seed);
  inputs.bias = draw_bias(problem, values, seed);
  inputs.head_scale = draw_head_scale(problem, seed);
  if (values == Values::dominant_key) add_dominant_keys(inputs, seed);
  if (values == Values::opposed) oppose_keys(inputs);
  if (values == Values::repeated_keys) repeat_keys(inputs);
  if (problem.op == kernels::Op::backward) add_backward_inputs(inputs, values, seed);
  return inputs;
}

kernels::BackwardArgs HostInputs::args() const {
  kernels::BackwardArgs args = kernels::shape_args(problem);
  args.q = q.data();
  args.k = k.data();
  args.v = v.data();
  if (!key_mask.empty()) args.key_mask = key_mask.data();
  if (!bias.empty()) args.bias = bias.data();
  if (!head_scale.empty()) args.head_scale = head_scale.data();
  if (problem.op == kernels::Op::forward) return args;
  args.dout = dout.data();
  // Outputs of the forward pass, so Args has them as such.
  args.o = const_cast<unsigned char*>(o.data());
  args.lse = const_cast<float*>(lse.data());
  return args;
}

}  // namespace fcsa::runner
