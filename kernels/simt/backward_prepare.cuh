// First kernel of the backward pass: what has to be known of every row before the passes, in one reading of
// the tensors.
#pragma once

#include "kernels/common/logits.cuh"
#include "kernels/common/normalise.cuh"
#include "kernels/simt/backward_records.cuh"

namespace fcsa::kernels::simt {

// sum of a * b over a row that kRecordLanes neighbouring lanes share; the same for all of them.
template <Traits T>
FCSA_DEVICE float row_product(const char* a, const char* b) {
  constexpr int kPieces = T.head_dim * element_bytes(T.dtype) / 16, kLanes = BackwardConfig::kRecordLanes;
  const uint4 *a_pieces = reinterpret_cast<const uint4*>(a), *b_pieces = reinterpret_cast<const uint4*>(b);
  float sum = 0;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x) % kLanes; i < kPieces; i += kLanes) {
    const auto x = unpack_piece<T.dtype>(__ldg(a_pieces + i)), y = unpack_piece<T.dtype>(__ldg(b_pieces + i));
#pragma unroll
    for (int e = 0; e < x.kElements; ++e) sum = fmaf(x.at[e], y.at[e], sum);
  }
#pragma unroll
  for (int lane = 1; lane < kLanes; lane *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lane);
  return sum;
}

struct NormFactors {
  float inverse_norm, projected;
};

template <Traits T>
FCSA_DEVICE NormFactors norm_factors(const char* row, float eps) {
  if constexpr (!BackwardConfig::normalises(T)) return {1.0f, 1.0f};
  const float squares = row_product<T>(row, row), inverse = inverse_norm(squares, eps);
  return {inverse, under_eps(squares, eps) ? 0.0f : inverse};
}

template <Traits T>
FCSA_DEVICE float4 make_query_record(const BackwardArgs& args, int flat_head, int row) {
  const int b = flat_head / args.heads, h = flat_head % args.heads;
  const char* q = row_pointer<T.dtype>(head_rows<T.dtype>(args.q, args.q_strides, b, h), row);
  const char* o = row_pointer<T.dtype>(head_rows<T.dtype>(args.o, args.o_strides, b, h), row);
  const char* dout = row_pointer<T.dtype>(head_rows<T.dtype>(args.dout, args.dout_strides, b, h), row);
  const float delta = row_product<T>(dout, o), lse = args.lse[1LL * flat_head * args.nq + row];
  const auto [inverse, projected] = norm_factors<T>(q, args.eps);
  if constexpr (hides_pairs(T)) {
    // Whatever a row holds that sees nothing.
    if (lse == minus_infinity()) return {1.0f, 0.0f, -lse, 0.0f};
  }
  return {inverse, projected, lse == minus_infinity() ? -lse : lse * lse_factor<T>(args, h), delta};
}

template <Traits T>
FCSA_DEVICE float4 make_key_record(const BackwardArgs& args, int flat_head, int row) {
  const int b = flat_head / args.kv_heads, h = flat_head % args.kv_heads;
  const char* k = row_pointer<T.dtype>(head_rows<T.dtype>(args.k, args.k_strides, b, h), row);
  const auto [inverse, projected] = norm_factors<T>(k, args.eps);
  if (!ShownKeys<T>(args, b)(row)) return {1.0f, 0.0f, 0.0f, 0.0f};
  return {inverse, projected, 1.0f, 0.0f};
}

// Records of kRecordRows queries of a head, or keys.
template <Traits T, BackwardConfig C>
FCSA_DEVICE void write_records(const BackwardArgs& args, unsigned block) {
  const unsigned query_blocks = C.query_record_blocks(args);
  const bool is_query = block < query_blocks;
  const int rows = is_query ? args.nq : args.nk;
  const unsigned place = is_query ? block : block - query_blocks, head_blocks = C.head_record_blocks(rows);
  const int flat_head = static_cast<int>(place / head_blocks);
  const int row = static_cast<int>(place % head_blocks * C.kRecordRows + threadIdx.x / C.kRecordLanes);
  // All lanes take part in the sums, those past the end with the last row.
  const int source = min(row, rows - 1);
  const float4 record =
      is_query ? make_query_record<T>(args, flat_head, source) : make_key_record<T>(args, flat_head, source);
  if (row >= rows || threadIdx.x % C.kRecordLanes != 0) return;
  const auto workspace = C.workspace(T, args);
  char* to =
      static_cast<char*>(args.workspace) + (is_query ? workspace.query_records : workspace.key_records);
  reinterpret_cast<float4*>(to)[1LL * flat_head * rows + row] = record;
}

// A share of each block.
template <Traits T, BackwardConfig C>
FCSA_DEVICE void clear_query_sums(const BackwardArgs& args) {
  const long long pieces = C.query_rows(args) * (T.head_dim / 4);
  float4* sums = reinterpret_cast<float4*>(query_sums<T, C>(args, 0, 0));
  const long long first = 1LL * blockIdx.x * blockDim.x + threadIdx.x;
  for (long long i = first; i < pieces; i += 1LL * gridDim.x * blockDim.x) sums[i] = {0, 0, 0, 0};
}

template <Traits T, BackwardConfig C>
FCSA_DEVICE void clear_bias_counts(const BackwardArgs& args) {
  if (!args.wants_dbias || C.bias_tiles(args).splits == 1) return;
  unsigned* counts =
      reinterpret_cast<unsigned*>(static_cast<char*>(args.workspace) + C.workspace(T, args).bias_counts);
  const unsigned tiles = static_cast<unsigned>(C.bias_tiles(args).tiles);
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < tiles; i += gridDim.x * blockDim.x)
    counts[i] = 0;
}

// Without the 1, ptxas spills to fit six blocks.
template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(BackwardConfig::kPrepareThreads, 1)
    prepare(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  if constexpr (T.bias != Bias::none) clear_bias_counts<T, C>(args);
  if constexpr (C.dq_atomics) clear_query_sums<T, C>(args);
  if constexpr (normalises_first(T)) {
    const unsigned normalising = C.normalise_blocks(T, args);
    if (blockIdx.x < normalising) {
      normalise_block<T>(args);
    } else {
      write_records<T, C>(args, blockIdx.x - normalising);
    }
  } else {
    write_records<T, C>(args, blockIdx.x);
  }
#endif
}

}  // namespace fcsa::kernels::simt
