#include "runner/inputs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "kernels/reference/elements.h"
#include "kernels/reference/parallel_for.h"

namespace fcsa::runner {
namespace {

using kernels::DType;
using kernels::Problem;
using kernels::Strides;

constexpr std::size_t kRowsPerBlock = 1024;

// The finaliser of splitmix64: a counter in, 64 independent bits out.
std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// Bits by position, so that blocks of a tensor can be drawn in any order and on any number of threads.
class Bits {
 public:
  Bits(std::uint64_t seed, std::uint64_t stream) : key_(mix(mix(seed + 0x632be59bd9b4e019u) ^ stream)) {}
  std::uint64_t at(std::uint64_t position) const { return mix(key_ + position * 0x9e3779b97f4a7c15u); }
  // A sum of four uniform numbers: normal to 3.4 sigma, exact integers and one product, so equal on every
  // machine.
  float normal(std::uint64_t position) const {
    const std::uint64_t bits = at(position);
    const auto sum =
        static_cast<int>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
    return static_cast<float>(sum - 131070) * 2.6429e-5f;
  }

 private:
  std::uint64_t key_;
};

enum Stream : std::uint64_t { kQ = 1, kK, kV, kMask, kBias, kHeadScale, kRowKind, kDominant };

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
  kernels::parallel_for((rows + kRowsPerBlock - 1) / kRowsPerBlock, [&](std::size_t block) {
    std::vector<float> values(width);
    for (std::size_t row = block * kRowsPerBlock; row < std::min(rows, (block + 1) * kRowsPerBlock); ++row) {
      for (std::size_t d = 0; d < width; ++d) values[d] = bits.normal(row * width + d);
      adjust(row, values);
      kernels::store_elements(dtype, data.data(), static_cast<long long>(row) * dim, dim, values.data());
    }
  });
  return data;
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

// Rows of q and k. One row in four is left as it is drawn, so that neighbours differ in norm by a factor of
// 1e3.
std::vector<unsigned char> draw_qk(const Problem& p, Values values, std::uint64_t seed, Stream stream) {
  const Bits kinds(seed, kRowKind ^ (stream << 8));
  const std::optional<float> norm = largest_norm(p);
  const auto adjust = [&](std::size_t row, std::vector<float>& x) {
    const bool special = values != Values::normal && values != Values::dominant_key && kinds.at(row) % 4 != 0;
    const float factor = values == Values::tiny_rows ? 1e-3f : values == Values::large_rows ? 1e3f : 0.0f;
    if (special)
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

std::vector<unsigned char> draw_bias(const Problem& p, std::uint64_t seed) {
  if (p.bias == kernels::Bias::none) return {};
  const kernels::Args shape = kernels::shape_args(p);
  const std::size_t rows = static_cast<std::size_t>(shape.bias_batch) * shape.bias_heads * p.nq;
  // A normal value is below 3.5.
  const float factor = p.logit_bound ? std::min(1.0f, *p.logit_bound / 14) : 1.0f;
  return draw_rows(p.bias == kernels::Bias::f32 ? DType::f32 : p.dtype, rows, p.nk, Bits(seed, kBias),
                   [&](std::size_t, std::vector<float>& x) {
                     for (float& v : x) v *= factor;
                   });
}

std::vector<float> draw_head_scale(const Problem& p, std::uint64_t seed) {
  if (!p.head_scale) return {};
  const Bits bits(seed, kHeadScale);
  std::vector<float> scale(static_cast<std::size_t>(p.heads));
  for (std::size_t h = 0; h < scale.size(); ++h)
    scale[h] = p.scale * (0.5f + static_cast<float>(bits.at(h) % 1024) / 2048.0f);
  return scale;
}

// In every key/value head one visible key and a quarter of the queries that read it get the direction of one
// query.
void add_dominant_keys(HostInputs& inputs, std::uint64_t seed) {
  const Problem& p = inputs.problem;
  const kernels::Args shape = kernels::shape_args(p);
  const Bits bits(seed, kDominant);
  const int group = p.heads / p.kv_heads;
  std::vector<float> row(static_cast<std::size_t>(p.head_dim)), half(row.size());
  for (int i = 0; i < p.batch * p.kv_heads; ++i) {
    const int batch = i / p.kv_heads, kv_head = i % p.kv_heads;
    const auto query = [&](int head, long long at) {
      return batch * shape.q_strides.batch + (kv_head * group + head) * shape.q_strides.head +
             at * shape.q_strides.row;
    };
    const std::uint64_t random = bits.at(static_cast<std::uint64_t>(i));
    const auto from = query(static_cast<int>(random % group), static_cast<long long>((random >> 16) % p.nq));
    kernels::load_elements(p.dtype, inputs.q.data(), from, p.head_dim, row.data());
    std::transform(row.begin(), row.end(), half.begin(), [](float x) { return x * 0.5f; });
    auto key = static_cast<long long>((random >> 40) % p.nk);
    while (p.key_mask && inputs.key_mask[static_cast<std::size_t>(batch * shape.key_mask_stride + key)] == 0)
      key = (key + 1) % p.nk;
    kernels::store_elements(
        p.dtype, inputs.k.data(),
        batch * shape.k_strides.batch + kv_head * shape.k_strides.head + key * shape.k_strides.row,
        p.head_dim, row.data());
    for (int head = 0; head < group; ++head)
      for (int at = 0; at < p.nq; at += 4)
        kernels::store_elements(p.dtype, inputs.q.data(), query(head, at), p.head_dim,
                                at % 8 == 0 ? row.data() : half.data());
  }
}

}  // namespace

std::string_view to_text(Values values) {
  constexpr std::array<std::string_view, 5> kNames = {"normal", "dominant key", "tiny rows", "large rows",
                                                      "zero rows"};
  return kNames.at(static_cast<std::size_t>(values));
}

HostInputs make_inputs(const Problem& problem, Values values, std::uint64_t seed) {
  HostInputs inputs;
  inputs.problem = problem;
  inputs.q = draw_qk(problem, values, seed, kQ);
  inputs.k = draw_qk(problem, values, seed, kK);
  inputs.v = draw_rows(problem.dtype, key_rows(problem), problem.head_dim, Bits(seed, kV),
                       [](std::size_t, std::vector<float>&) {});
  if (problem.key_mask) inputs.key_mask = draw_mask(problem, values, seed);
  inputs.bias = draw_bias(problem, seed);
  inputs.head_scale = draw_head_scale(problem, seed);
  if (values == Values::dominant_key) add_dominant_keys(inputs, seed);
  return inputs;
}

kernels::Args HostInputs::args() const {
  kernels::Args args = kernels::shape_args(problem);
  args.q = q.data();
  args.k = k.data();
  args.v = v.data();
  if (!key_mask.empty()) args.key_mask = key_mask.data();
  if (!bias.empty()) args.bias = bias.data();
  if (!head_scale.empty()) args.head_scale = head_scale.data();
  return args;
}

}  // namespace fcsa::runner
