#include "runner/verification/input_masks.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference/reference.h"
#include "runner/verification/draw_rows.h"

namespace fcsa::runner {
namespace {

using kernels::DType;
using kernels::Problem;

constexpr float kHidden = -std::numeric_limits<float>::infinity();

// `i` counts the keys of all batches. What some batches hide of a run of keys, others show.
bool is_shown(const Problem& p, Values values, std::size_t i, std::uint64_t random) {
  const auto nk = static_cast<std::size_t>(p.nk);
  const std::size_t key = i % nk, batch = i / nk;
  switch (values) {
    case Values::dominant_key:
    case Values::large_rows:
    case Values::huge_rows:
      return (key >= nk / 2) == (batch % 2 == 0);
    case Values::tiny_rows:
      return key < nk / 4 || key >= nk - nk / 4;
    case Values::repeated_keys:
      return key < nk - nk / 2;
    case Values::one_visible_key:
      return false;
    default:
      return random % 4 != 0;
  }
}

DType bias_dtype(const Problem& p) {
  return p.bias == kernels::Bias::f32 ? DType::f32 : p.dtype;
}

// A row of a large bias: of eight neighbours, two are as they were drawn.
void make_large(std::vector<float>& row, float largest, std::size_t kind, std::uint64_t random) {
  const std::size_t count = row.size(), chosen = random % count;
  switch (kind) {
    case 0:
      std::fill(row.begin(), row.end(), largest);
      break;
    case 1:
      row[chosen] = largest;
      break;
    case 3:
      for (std::size_t j = 0; j < count; ++j)
        row[j] = largest * (2 * static_cast<float>(j + 1) / static_cast<float>(count) - 1);
      break;
    case 4:
      for (std::size_t j = 0; j < count; ++j)
        if (mix(random + j) % 2 == 0) row[j] = kHidden;
      break;
    case 5:
      for (std::size_t j = 0; j < count; ++j)
        if (j != chosen) row[j] = kHidden;
      break;
    case 6:
      std::fill(row.begin(), row.end(), kHidden);
      break;
    default:
      break;
  }
}

// Which keys of a row the bias doesn't hide; all where it hides none.
class BiasRows {
 public:
  explicit BiasRows(const HostInputs& inputs) : inputs_(inputs), args_(inputs.args()) {}

  bool shows(int batch, int head, int row, int key) const {
    if (inputs_.bias.empty()) return true;
    const kernels::Strides& s = args_.bias_strides;
    return kernels::load_element(bias_dtype(inputs_.problem), inputs_.bias.data(),
                                 batch % args_.bias_batch * s.batch +
                                     (args_.bias_heads == 1 ? 0 : head) * s.head + row * s.row + key) !=
           kHidden;
  }

 private:
  const HostInputs& inputs_;
  kernels::BackwardArgs args_;
};

// The keys of every batch that the mask shows, ascending.
std::vector<std::vector<int>> shown_keys(const HostInputs& inputs) {
  const Problem& p = inputs.problem;
  std::vector<std::vector<int>> shown(static_cast<std::size_t>(p.batch));
  for (std::size_t i = 0; i < shown.size() * static_cast<std::size_t>(p.nk); ++i) {
    const std::size_t batch = i / static_cast<std::size_t>(p.nk);
    if (inputs.key_mask.empty() || inputs.key_mask[i] != 0)
      shown[batch].push_back(static_cast<int>(i % static_cast<std::size_t>(p.nk)));
  }
  return shown;
}

// Not the pattern of outputs that were not written.
void make_nan(const Problem& p, std::vector<unsigned char>& tensor, long long element) {
  for (int d = 0; !tensor.empty() && d < p.head_dim; ++d)
    kernels::store_element(p.dtype, tensor.data(), element + d, std::numeric_limits<float>::quiet_NaN());
}

}  // namespace

std::vector<unsigned char> draw_key_mask(const Problem& p, Values values, const Bits& bits) {
  constexpr unsigned char kVisible[] = {1, 2, 128, 255};
  const auto nk = static_cast<std::size_t>(p.nk);
  std::vector<unsigned char> mask(static_cast<std::size_t>(p.batch) * nk);
  for (std::size_t i = 0; i < mask.size(); ++i) {
    const std::uint64_t random = bits.at(i);
    if (is_shown(p, values, i, random)) mask[i] = kVisible[random / 4 % 4];
  }
  for (std::size_t batch = 0; batch < static_cast<std::size_t>(p.batch); ++batch) {
    const auto first = mask.begin() + static_cast<std::ptrdiff_t>(batch * nk), last = first + p.nk;
    if (std::all_of(first, last, [](unsigned char byte) { return byte == 0; }))
      first[static_cast<std::ptrdiff_t>(bits.at(batch) % nk)] = kVisible[bits.at(batch) / nk % 4];
  }
  return mask;
}

std::vector<unsigned char> mask_of_lengths(const Problem& p, const std::vector<int>& lengths) {
  std::vector<unsigned char> mask(static_cast<std::size_t>(p.batch) * static_cast<std::size_t>(p.nk));
  for (int batch = 0; batch < p.batch; ++batch)
    std::fill_n(mask.begin() + static_cast<std::ptrdiff_t>(batch) * p.nk,
                std::clamp(lengths.at(static_cast<std::size_t>(batch)), 0, p.nk),
                static_cast<unsigned char>(1));
  return mask;
}

std::vector<unsigned char> draw_bias(const Problem& p, Values values, float largest, const Bits& bits,
                                     const Bits& entries) {
  const kernels::BackwardArgs shape = kernels::shape_args(p);
  const std::size_t rows = static_cast<std::size_t>(shape.bias_batch) *
                           static_cast<std::size_t>(shape.bias_heads) * static_cast<std::size_t>(p.nq);
  const float factor = std::min(1.0f, largest / 3.5f);  // a normal value is below 3.5
  return draw_rows(bias_dtype(p), rows, p.nk, bits, [&](std::size_t row, std::vector<float>& x) {
    for (float& v : x) v *= factor;
    if (values == Values::large_bias) make_large(x, largest, row % 8, entries.at(row));
  });
}

std::vector<bool> seeing_rows(const HostInputs& inputs) {
  const Problem& p = inputs.problem;
  const std::vector<std::vector<int>> shown = shown_keys(inputs);
  const BiasRows bias(inputs);
  const kernels::Visibility visibility = visibility_of(p);
  std::vector<bool> sees;
  sees.reserve(static_cast<std::size_t>(p.batch) * static_cast<std::size_t>(p.heads) *
               static_cast<std::size_t>(p.nq));
  for (int batch = 0; batch < p.batch; ++batch)
    for (int head = 0; head < p.heads; ++head)
      for (int row = 0; row < p.nq; ++row) {
        const auto& keys = shown[static_cast<std::size_t>(batch)];
        const kernels::Range visible = visibility.keys_of(row);
        // The first of the keys that the bias leaves, so that this is quick where it leaves most.
        const auto first = std::lower_bound(keys.begin(), keys.end(), visible.first);
        const auto found = std::find_if(first, keys.end(), [&](int key) {
          return key >= visible.end || bias.shows(batch, head, row, key);
        });
        sees.push_back(found != keys.end() && *found < visible.end);
      }
  return sees;
}

void hide_with_nan(HostInputs& inputs) {
  const Problem& p = inputs.problem;
  const kernels::BackwardArgs args = inputs.args();
  const std::vector<std::vector<int>> shown = shown_keys(inputs);
  const kernels::Visibility visibility = visibility_of(p);
  const auto element = [](const kernels::Strides& s, int batch, int head, int row) {
    return batch * s.batch + head * s.head + row * s.row;
  };
  for (int batch = 0; batch < p.batch; ++batch) {
    const auto& keys = shown[static_cast<std::size_t>(batch)];
    for (int key = 0; key < p.nk; ++key) {
      if (std::binary_search(keys.begin(), keys.end(), key)) continue;
      for (int head = 0; head < p.kv_heads; ++head) {
        make_nan(p, inputs.k, element(args.k_strides, batch, head, key));
        make_nan(p, inputs.v, element(args.v_strides, batch, head, key));
      }
    }
    for (int row = 0; !visibility.full() && row < p.nq; ++row) {
      const kernels::Range visible = visibility.keys_of(row);
      const auto first = std::lower_bound(keys.begin(), keys.end(), visible.first);
      if (first != keys.end() && *first < visible.end) continue;
      for (int head = 0; head < p.heads; ++head) {
        make_nan(p, inputs.q, element(args.q_strides, batch, head, row));
        make_nan(p, inputs.dout, element(args.dout_strides, batch, head, row));
      }
    }
  }
}

}  // namespace fcsa::runner
