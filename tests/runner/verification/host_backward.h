// A backward pass on the host as kernels compute it: f32 arithmetic, both norms folded into dS (or q^ and k^
// from a pass before, for f16 and groups), P and dS rounded before their products. And its usual mistakes.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/problem.h"
#include "kernels/reference/elements.h"
#include "kernels/reference/reference.h"

namespace fcsa::runner {

struct Mistakes {
  bool no_delta = false;             // dS = P dP
  bool no_projection = false;        // along q and k
  bool one_head_of_a_group = false;  // dk and dv of its first query head only
  bool blind_to_the_mask = false;
  bool causal_off_by_one = false;
  bool no_scale_in_dk = false;
  bool bias_of_one_batch = false;  // dbias is not summed over the batches that share it
  bool last_key_missing = false;
  bool bf16_products = false;    // of f32 tensors
  bool large_zero_rows = false;  // nothing is selected where the norm is under eps
};

class HostBackward {
 public:
  HostBackward(const kernels::Traits& traits, const kernels::BackwardArgs& args,
               const Mistakes& mistakes = {})
      : traits_(traits), args_(args), mistakes_(mistakes), dim_(static_cast<std::size_t>(traits.head_dim)) {}

  void run() {
    for (int batch = 0; batch < args_.batch; ++batch)
      for (int kv_head = 0; kv_head < args_.kv_heads; ++kv_head) run_group(batch, kv_head);
    write_bias();
    for (int h = 0; args_.dscale != nullptr && h < args_.heads; ++h)
      args_.dscale[h] = dscale_[static_cast<std::size_t>(h)];
  }

 private:
  using Row = std::vector<float>;

  struct Rows {
    std::vector<Row> x, hat, sum;       // as stored, as products take them, and the gradient of that
    std::vector<Row> inverse;           // 1 / norm, of each group
    std::vector<Row> other, other_sum;  // dout; or v and its gradient
    std::vector<bool> seen;             // whether any of the other rows has to do with it
  };

  bool prepared() const { return traits_.groups > 1 || traits_.dtype == kernels::DType::f16; }
  std::size_t width() const { return dim_ / static_cast<std::size_t>(traits_.groups); }

  float operand(float value) const {
    if (mistakes_.bf16_products) return kernels::rounded_to(kernels::DType::bf16, value);
    if (traits_.tf32) return kernels::rounded_to_tf32(value);
    return kernels::rounded_to(traits_.dtype, value);
  }

  Row load(const void* data, const kernels::Strides& s, int batch, int head, int row) const {
    Row values(dim_);
    kernels::load_elements(traits_.dtype, data, batch * s.batch + head * s.head + row * s.row,
                           traits_.head_dim, values.data());
    return values;
  }

  void store(void* data, const kernels::Strides& s, int batch, int head, int row, const Row& values) const {
    kernels::store_elements(traits_.dtype, data, batch * s.batch + head * s.head + row * s.row,
                            traits_.head_dim, values.data());
  }

  Rows load_rows(bool queries, int batch, int head) const {
    Rows rows;
    for (int i = 0; i < (queries ? args_.nq : args_.nk); ++i) {
      rows.x.push_back(queries ? load(args_.q, args_.q_strides, batch, head, i)
                               : load(args_.k, args_.k_strides, batch, head, i));
      rows.other.push_back(queries ? load(args_.dout, args_.dout_strides, batch, head, i)
                                   : load(args_.v, args_.v_strides, batch, head, i));
      Row inverse, hat = rows.x.back();
      for (std::size_t g = 0; g < dim_; g += width()) {
        inverse.push_back(traits_.l2norm_qk ? 1 / std::max(std::sqrt(dot(hat, hat, g)), args_.eps) : 1);
        if (prepared())
          for (std::size_t d = g; d < g + width(); ++d) hat[d] = operand(hat[d] * inverse.back());
      }
      rows.inverse.push_back(inverse);
      rows.hat.push_back(hat);
    }
    rows.sum.assign(rows.x.size(), Row(dim_));
    rows.other_sum = rows.sum;
    rows.seen.assign(rows.x.size(), false);
    return rows;
  }

  // Of one group of channels, or of all.
  float dot(const Row& a, const Row& b, std::size_t first) const { return dot(a, b, first, width()); }
  static float dot(const Row& a, const Row& b, std::size_t first, std::size_t count) {
    float sum = 0;
    for (std::size_t d = first; d < first + count; ++d) sum += a[d] * b[d];
    return sum;
  }

  static void add(Row& to, float weight, const Row& row) {
    for (std::size_t d = 0; d < row.size(); ++d) to[d] += weight * row[d];
  }

  void run_group(int batch, int kv_head) {
    const int heads = args_.heads / args_.kv_heads;
    Rows keys = load_rows(false, batch, kv_head);
    std::vector<Row> dk(keys.x.size(), Row(dim_)), dv = dk;
    for (int h = 0; h < heads; ++h) {
      const int head = kv_head * heads + h;
      Rows queries = load_rows(true, batch, head);
      keys.sum.assign(keys.x.size(), Row(dim_));
      keys.other_sum = keys.sum;
      for (int i = 0; i < args_.nq; ++i) run_row(batch, head, i, queries, keys);
      const float scale = traits_.head_scale ? args_.head_scale[head] : args_.scale;
      for (std::size_t i = 0; i < queries.x.size(); ++i) {
        if (queries.seen[i])
          dscale_[static_cast<std::size_t>(head)] += dot(queries.hat[i], queries.sum[i], 0, dim_);
        store(args_.dq, args_.dq_strides, batch, head, static_cast<int>(i), projected(queries, i, scale));
      }
      for (std::size_t j = 0; j < keys.x.size() && !(mistakes_.one_head_of_a_group && h > 0); ++j) {
        add(dk[j], mistakes_.no_scale_in_dk ? 1 : scale, keys.sum[j]);
        add(dv[j], 1, keys.other_sum[j]);
      }
    }
    for (std::size_t j = 0; j < keys.x.size(); ++j) {
      keys.sum[j] = dk[j];
      store(args_.dk, args_.dk_strides, batch, kv_head, static_cast<int>(j), projected(keys, j, 1));
      store(args_.dv, args_.dv_strides, batch, kv_head, static_cast<int>(j), dv[j]);
    }
  }

  bool sees(int batch, int query, int key) const {
    if (mistakes_.last_key_missing && key == args_.nk - 1) return false;
    const int edge = query + args_.nk - args_.nq - (mistakes_.causal_off_by_one ? 1 : 0);
    if (traits_.causal && key > edge) return false;
    return !traits_.key_mask || mistakes_.blind_to_the_mask ||
           args_.key_mask[batch * args_.key_mask_stride + key] != 0;
  }

  long long bias_index(int batch, int head, int query, int key) const {
    return batch % args_.bias_batch * args_.bias_strides.batch +
           (args_.bias_heads == 1 ? 0 : head) * args_.bias_strides.head + query * args_.bias_strides.row +
           key;
  }
  kernels::DType bias_dtype() const {
    return traits_.bias == kernels::Bias::same ? traits_.dtype : kernels::DType::f32;
  }

  void run_row(int batch, int head, int query, Rows& queries, Rows& keys) {
    const auto i = static_cast<std::size_t>(query);
    const Row o = load(args_.o, args_.o_strides, batch, head, query);
    const float delta = mistakes_.no_delta ? 0 : dot(o, queries.other[i], 0, dim_);
    const float lse = args_.lse[(static_cast<long long>(batch) * args_.heads + head) * args_.nq + query];
    const float scale = traits_.head_scale ? args_.head_scale[head] : args_.scale;
    for (int key = 0; key < args_.nk; ++key) {
      if (!sees(batch, query, key)) continue;
      const auto j = static_cast<std::size_t>(key);
      const float norms = prepared() ? 1 : queries.inverse[i][0] * keys.inverse[j][0];
      float s = dot(queries.hat[i], keys.hat[j], 0, dim_) * (norms * scale);
      if (traits_.bias != kernels::Bias::none)
        s += kernels::load_element(bias_dtype(), args_.bias, bias_index(batch, head, query, key));
      if (std::isinf(s)) continue;  // hidden by a bias of -inf
      queries.seen[i] = keys.seen[j] = true;
      const float p = std::exp2(s * 1.44269504f - lse * 1.44269504f);
      const float ds = p * (dot(queries.other[i], keys.other[j], 0, dim_) - delta);
      add(keys.other_sum[j], operand(p), queries.other[i]);
      add(queries.sum[i], operand(ds * norms), keys.hat[j]);
      add(keys.sum[j], operand(ds * norms), queries.hat[i]);
      if (args_.dbias != nullptr && !(mistakes_.bias_of_one_batch && batch >= args_.bias_batch))
        dbias_.at(static_cast<std::size_t>(bias_index(batch, head, query, key))) += ds;
    }
  }

  // The sum of a row becomes the gradient of the row.
  Row projected(const Rows& rows, std::size_t i, float scale) const {
    Row row(dim_);
    for (std::size_t g = 0; rows.seen[i] && g < dim_; g += width()) {
      const float inverse = rows.inverse[i][g / width()];
      const float along = traits_.l2norm_qk && !mistakes_.no_projection
                              ? dot(rows.hat[i], rows.sum[i], g) * (prepared() ? 1 : inverse * inverse)
                              : 0;
      const bool zero = traits_.l2norm_qk && inverse >= 1 / args_.eps && !mistakes_.large_zero_rows;
      for (std::size_t d = g; d < g + width() && !zero; ++d)
        row[d] = scale * (prepared() ? inverse : 1) * (rows.sum[i][d] - rows.hat[i][d] * along);
    }
    return row;
  }

  void write_bias() const {
    for (std::size_t i = 0; i < dbias_.size() && args_.dbias != nullptr; ++i)
      kernels::store_element(bias_dtype(), args_.dbias, static_cast<long long>(i), dbias_[i]);
  }

  kernels::Traits traits_;
  kernels::BackwardArgs args_;
  Mistakes mistakes_;
  std::size_t dim_;
  std::vector<float> dscale_ = std::vector<float>(static_cast<std::size_t>(args_.heads));
  std::vector<float> dbias_ = std::vector<float>(static_cast<std::size_t>(
      static_cast<long long>(args_.bias_batch) * args_.bias_heads * args_.nq * args_.nk));
};

}  // namespace fcsa::runner
