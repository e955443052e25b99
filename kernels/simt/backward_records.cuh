// What the passes of the backward pass need to know of a row: its record, 4 f32 in the workspace.
#pragma once

#include "kernels/common/normalise.cuh"
#include "kernels/simt/backward_config.h"
#include "kernels/simt/tiles.cuh"

namespace fcsa::kernels::simt {

// Rows of one head of a tensor.
struct HeadRows {
  const char* base;
  long long stride;  // elements
};

template <DType dtype>
FCSA_DEVICE HeadRows head_rows(const void* tensor, const Strides& strides, int batch, int head) {
  return {element_pointer<dtype>(tensor, batch * strides.batch + head * strides.head), strides.row};
}

template <DType dtype>
FCSA_DEVICE const char* row_pointer(const HeadRows& head, int row) {
  return element_pointer<dtype>(head.base, row * head.stride);
}

// Rows of q and k that S is made of: raw ones, or with groups the normalised ones in the workspace.
template <Traits T>
FCSA_DEVICE HeadRows query_head(const BackwardArgs& args, int batch, int head) {
  if constexpr (!normalises_first(T)) return head_rows<T.dtype>(args.q, args.q_strides, batch, head);
  const char* tensor = static_cast<const char*>(args.workspace) + normalised_tensors(T, args).q;
  const long long first = (1LL * batch * args.heads + head) * args.nq;
  return {element_pointer<T.dtype>(tensor, first * T.head_dim), T.head_dim};
}

template <Traits T>
FCSA_DEVICE HeadRows key_head(const BackwardArgs& args, int batch, int kv_head) {
  if constexpr (!normalises_first(T)) return head_rows<T.dtype>(args.k, args.k_strides, batch, kv_head);
  const char* tensor = static_cast<const char*>(args.workspace) + normalised_tensors(T, args).k;
  const long long first = (1LL * batch * args.kv_heads + kv_head) * args.nk;
  return {element_pointer<T.dtype>(tensor, first * T.head_dim), T.head_dim};
}

// Records. Of a row past the end all is zero.
//   inverse_norm   1 / max(norm, eps); 1 where S is made of rows that are not raw, or not normalised
//   projected      the same, but 0 for a norm under eps: its gradient stops there
//   lse            queries: of the forward pass, in base 2; infinite for a row that sees no key, whose P is 0
//   then delta          queries: sum of dout * o visible        keys: 1, or 0 for a key that the mask hides
struct QueryRecord {
  float inverse_norm, projected, lse, delta;
};
struct KeyRecord {
  float inverse_norm, projected, visible, unused;
};

// Whether the norm is less than eps, as inverse_norm has it.
FCSA_DEVICE bool under_eps(float squares, float eps) {
  return ptx::rsqrt_approximate(squares) > ptx::reciprocal_approximate(eps);
}

template <Traits T, BackwardConfig C>
FCSA_DEVICE const float4* query_records(const BackwardArgs& args, int batch, int head) {
  return reinterpret_cast<const float4*>(static_cast<const char*>(args.workspace) +
                                         C.workspace(T, args).query_records) +
         (1LL * batch * args.heads + head) * args.nq;
}

template <Traits T, BackwardConfig C>
FCSA_DEVICE const float4* key_records(const BackwardArgs& args, int batch, int kv_head) {
  return reinterpret_cast<const float4*>(static_cast<const char*>(args.workspace) +
                                         C.workspace(T, args).key_records) +
         (1LL * batch * args.kv_heads + kv_head) * args.nk;
}

// Sums of dq of a head, where they are in the workspace.
template <Traits T, BackwardConfig C>
FCSA_DEVICE float* query_sums(const BackwardArgs& args, int batch, int head) {
  char* sums = static_cast<char*>(args.workspace) + C.workspace(T, args).query_sums;
  return reinterpret_cast<float*>(sums) + (1LL * batch * args.heads + head) * args.nq * T.head_dim;
}

FCSA_DEVICE QueryRecord query_record(const float4& words) {
  return {words.x, words.y, words.z, words.w};
}
FCSA_DEVICE KeyRecord key_record(const float4& words) {
  return {words.x, words.y, words.z, words.w};
}

}  // namespace fcsa::kernels::simt
