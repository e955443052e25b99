#include "runner/verification/inputs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <optional>

#include "runner/verification/draw_rows.h"
#include "runner/verification/forward_results.h"
#include "runner/verification/input_masks.h"

namespace fcsa::runner {
namespace {

using kernels::DType;
using kernels::Problem;
using kernels::Strides;

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

std::size_t query_rows(const Problem& p) {
  return static_cast<std::size_t>(p.batch) * p.heads * p.nq;
}
std::size_t key_rows(const Problem& p) {
  return static_cast<std::size_t>(p.batch) * p.kv_heads * p.nk;
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
  double squares = 0;
  for (const float x : row) squares += double{x} * x;
  const double norm = std::sqrt(squares);
  if (norm <= double{largest}) return;
  for (float& x : row) x = static_cast<float>(x * (largest / norm));
}

// What a row of q or k is multiplied with; `random` decides which kind of row it is.
float factor_of_row(Values values, DType dtype, std::uint64_t random) {
  const bool special = random % 4 != 0;
  switch (values) {
    case Values::tiny_rows:
      return special ? 1e-3f : 1.0f;
    case Values::clamped_rows:
      return !special ? 1.0f : random % 8 < 4 ? 0.0f : 1e-3f;
    case Values::huge_rows:
    case Values::large_rows: {
      if (!special) return 1.0f;
      const float far[2][4] = {{1e3f, 1e3f, 1e10f, 1e-8f}, {1e3f, 1e20f, 1e-20f, 0.0f}};
      return dtype == DType::f16 ? 1e3f : far[values == Values::huge_rows ? 1 : 0][random / 4 % 4];
    }
    default:
      return 1.0f;
  }
}

// Rows of q and k. One row in four is left as it is drawn, so that neighbours differ in norm by a factor of
// 1e3 and more.
std::vector<unsigned char> draw_qk(const Problem& p, Values values, std::uint64_t seed, Stream stream) {
  const Bits kinds(seed, kRowKind ^ (stream << 8));
  const std::optional<float> norm = largest_norm(p);
  const float moderating = moderating_factor(p, values);
  const auto adjust = [&](std::size_t row, std::vector<float>& x) {
    const float factor = moderating * factor_of_row(values, p.dtype, kinds.at(row));
    for (float& v : x) v *= factor;
    if (norm) limit_norm(x, *norm);
  };
  return draw_rows(p.dtype, stream == kQ ? query_rows(p) : key_rows(p), p.head_dim, Bits(seed, stream),
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
      "normal",  "dominant key",  "tiny rows",       "large rows", "clamped rows",
      "opposed", "repeated keys", "one visible key", "large bias", "huge rows"};
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

Values values_for(kernels::DeviceKind kind, Values values) {
  return kind == kernels::DeviceKind::cuda && values == Values::huge_rows ? Values::large_rows : values;
}

HostInputs make_inputs(const Problem& problem, Values values, std::uint64_t seed,
                       const std::vector<int>& key_lengths) {
  HostInputs inputs;
  inputs.problem = problem;
  if (values == Values::clamped_rows) inputs.eps = 0.05f;
  inputs.q = draw_qk(problem, values, seed, kQ);
  inputs.k = draw_qk(problem, values, seed, kK);
  inputs.v = draw_rows(problem.dtype, key_rows(problem), problem.head_dim, Bits(seed, kV),
                       [](std::size_t, std::vector<float>&) {});
  if (problem.key_mask)
    inputs.key_mask = key_lengths.empty() ? draw_key_mask(problem, values, Bits(seed, kMask))
                                          : mask_of_lengths(problem, key_lengths);
  if (problem.bias != kernels::Bias::none)
    inputs.bias =
        draw_bias(problem, values, largest_bias(problem), Bits(seed, kBias), Bits(seed, kBiasEntry));
  inputs.head_scale = draw_head_scale(problem, seed);
  if (values == Values::dominant_key) add_dominant_keys(inputs, seed);
  if (values == Values::opposed) oppose_keys(inputs);
  if (values == Values::repeated_keys) repeat_keys(inputs);
  if (problem.op == kernels::Op::backward) add_backward_inputs(inputs, values, seed);
  return inputs;
}

kernels::BackwardArgs HostInputs::args() const {
  kernels::BackwardArgs args = kernels::shape_args(problem);
  args.eps = eps;
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
