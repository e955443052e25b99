// What emitted headers contain to choose a kernel, compiled as it stands, with the tables of a plan at run
// time.
#pragma once

#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "kernels/common/sizes.h"
#include "kernels/problem.h"
#include "tuner/emit/plan.h"

namespace emitted {
#include "tuner/emit/emitted/attention.h"
namespace detail {
inline constexpr const char* kServes[] = {"", ""};
}
#include "tuner/emit/emitted/arguments.h"

#include "tuner/emit/emitted/selection.h"
namespace detail {
inline int multiprocessors_or(int tuned) {
  return tuned;
}
}  // namespace detail
}  // namespace emitted

namespace fcsa::tuner::testing {

// A call for the problem, of tensors that nobody looks at.
inline emitted::Attention attention_of(const kernels::Problem& p) {
  static const unsigned char mask = 1;
  static const float scales[64] = {}, bias = 0;
  static float gradients[64] = {};
  emitted::Attention a;
  a.dtype = p.dtype;
  a.head_dim = p.head_dim;
  a.batch = p.batch;
  a.heads = p.heads;
  a.kv_heads = p.kv_heads;
  a.nq = p.nq;
  a.nk = p.nk;
  a.causal = p.causal;
  a.key_mask = p.key_mask ? &mask : nullptr;
  a.layout = p.layout;
  a.scale = p.scale;
  a.l2norm_qk = p.l2norm_qk;
  a.groups = p.groups;
  a.logit_bound = p.logit_bound.value_or(0.0f);
  a.allow_tf32 = p.allow_tf32;
  a.head_scale = p.head_scale ? scales : nullptr;
  a.dbias = p.bias_gradient ? gradients : nullptr;
  a.dscale = p.scale_gradient ? gradients : nullptr;
  a.deterministic = p.deterministic;
  if (p.bias == kernels::Bias::none) return a;
  a.bias = &bias;
  a.bias_dtype = p.bias == kernels::Bias::same ? p.dtype : kernels::DType::f32;
  a.bias_batch = p.bias_batch, a.bias_heads = p.bias_heads;
  return a;
}

// The tables that tables_text() writes.
class EmittedTable {
 public:
  explicit EmittedTable(const EmitPlan& plan) : multiprocessors_(plan.multiprocessors) {
    for (const auto& variant : plan.variants) {
      unsigned char bits = 0;
      for (std::size_t i = 0; i < variant.serves.size(); ++i) bits |= variant.serves[i] ? 1u << i : 0u;
      served_.push_back(bits);
    }
    for (const auto& c : plan.classes) add(c);
  }

  emitted::detail::Table view() const {
    return {classes_.data(),     static_cast<int>(classes_.size()),
            shapes_.data(),      positions_.data(),
            models_.data(),      candidates_.data(),
            corrections_.data(), served_.data(),
            multiprocessors_};
  }

 private:
  void add(const EmittedClass& c) {
    classes_.push_back({c.traits,
                        static_cast<int>(shapes_.size()),
                        static_cast<int>(c.shapes.size()),
                        static_cast<int>(c.default_variant),
                        static_cast<int>(models_.size()),
                        static_cast<int>(c.candidates.size()),
                        static_cast<int>(corrections_.size()),
                        c.op,
                        {c.demands.bias_gradient, c.demands.scale_gradient, c.demands.deterministic}});
    for (const auto& shape : c.shapes) {
      const auto& p = shape.problem;
      shapes_.push_back({p.nq, p.nk, p.batch, p.heads, p.kv_heads, p.layout, static_cast<int>(shape.variant),
                         shape.time_ms});
      positions_.push_back(shape.position);
      corrections_.insert(corrections_.end(), shape.corrections.begin(), shape.corrections.end());
    }
    for (const auto& candidate : c.candidates) {
      models_.push_back(candidate.model);
      candidates_.push_back(static_cast<int>(candidate.variant));
    }
  }

  std::vector<emitted::detail::Class> classes_;
  std::vector<emitted::detail::Shape> shapes_;
  std::vector<kernels::Position> positions_;
  std::vector<kernels::Model> models_;
  std::vector<int> candidates_;
  std::vector<float> corrections_;
  std::vector<unsigned char> served_;
  int multiprocessors_;
};

}  // namespace fcsa::tuner::testing
