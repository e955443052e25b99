// K over its norms in the workspace, from where it is then copied instead: by a kernel beforehand, or by all
// blocks of a persistent grid for each other.
//
// The latter deal out the keys of all heads, in the order in which they come to them, in slices: the first to
// all warps of all blocks but those that copy, before they have anything to do, which is what the first tiles
// need; the rest to the producers' warps that have nothing to copy. Nobody waits but the warps that copy the
// keys of a head, for those that never wait: as long as all blocks are resident, none waits for ever.
#pragma once

#include "kernels/common/hopper.cuh"
#include "kernels/common/key_factors.cuh"
#include "kernels/common/ptx.cuh"
#include "kernels/wgmma/config.h"

namespace fcsa::kernels::wgmma {

template <Traits T, ForwardConfig C>
FCSA_DEVICE unsigned* slice_counts(const Args& args) {
  return reinterpret_cast<unsigned*>(static_cast<char*>(args.workspace) + C.workspace(T, args).counts);
}

// Slices of the keys of one head (of a batch).
struct Slices {
  int head, first, count;
};

template <ForwardConfig C>
FCSA_DEVICE int slices_of_head(const Args& args) {
  int slices = (args.nk + C.kSliceRows - 1) / C.kSliceRows;
  // Unknown to the compiler, which would keep what follows from it in registers for later.
  asm volatile("" : "+r"(slices));
  return slices;
}

template <ForwardConfig C>
FCSA_DEVICE const char* keys_of(const Args& args, int head) {
  const int batch = head / args.kv_heads;
  return static_cast<const char*>(args.k) +
         2 * (batch * args.k_strides.batch + (head - batch * args.kv_heads) * args.k_strides.head);
}

// The two elements of a word times 1/|k|, rounded once, in place: in f32 a thread would need more registers
// than the producer has, however little is loaded. The factor is the sum of two 16-bit numbers; with f16,
// which has not the range for it, times a power of two twice, exact as long as nothing is subnormal.
template <DType dtype>
class InverseNorm {
 public:
  FCSA_DEVICE explicit InverseNorm(float inverse) {
    if constexpr (dtype == DType::f16) {
      constexpr float kMost = 16777216.0f;  // 1 over the least norm that is not zero
      const auto bits = __float_as_uint(fminf(inverse, kMost));
      const unsigned half = (bits >> 24) - 63;  // of the exponent; modulo 2^32
      power_ = both(__uint_as_float((127 + half) << 23));
      inverse = __uint_as_float(bits - (half << 24));
    }
    high_ = both(inverse);
    low_ = both(inverse - ptx::unpack<dtype>(high_).x);
  }

  FCSA_DEVICE unsigned times(unsigned word) const {
    unsigned product;
    if constexpr (dtype == DType::f16) {
      asm("mul.rn.f16x2 %0, %0, %1;" : "+r"(word) : "r"(power_));
      asm("mul.rn.f16x2 %0, %0, %1;" : "+r"(word) : "r"(power_));
      asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(product) : "r"(word), "r"(low_));
      asm("fma.rn.f16x2 %0, %1, %2, %0;" : "+r"(product) : "r"(word), "r"(high_));
    } else {
      asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(product) : "r"(word), "r"(low_));
      asm("fma.rn.bf16x2 %0, %1, %2, %0;" : "+r"(product) : "r"(word), "r"(high_));
    }
    return product;
  }

 private:
  FCSA_DEVICE static unsigned both(float x) { return ptx::pack<dtype>(x, x); }

  unsigned high_, low_, power_;
};

// By one warp: eight lanes read a row.
template <Traits T, ForwardConfig C, int pieces_under_way>
FCSA_DEVICE void normalise_slices(const Args& args, const Slices& slices) {
  constexpr int kPieces = T.head_dim / 8, kLanes = 8, kLoads = (kPieces + kLanes - 1) / kLanes;
  constexpr int kStepRows = 32 / kLanes, kSteps = C.kSliceRows / kStepRows;  // of a slice
  constexpr int kFit = pieces_under_way / kLoads, kGroup = kFit < 1 ? 1 : kFit > kSteps ? kSteps : kFit;
  static_assert(kSteps % kGroup == 0);
  int lane;  // read again: what follows from it is not to be kept in registers from call to call
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  const int part = lane % kLanes, key = slices.first * C.kSliceRows + lane / kLanes;
  const char* from = keys_of<C>(args, slices.head) + 2 * key * args.k_strides.row + 16 * part;
  char* to = static_cast<char*>(args.workspace) + C.workspace(T, args).keys +
             2LL * T.head_dim * (1LL * slices.head * args.nk + key) + 16 * part;
  int left = min(slices.count * C.kSliceRows, args.nk - slices.first * C.kSliceRows) - lane / kLanes;
#pragma unroll 1
  for (int step = 0; step < slices.count * kSteps; step += kGroup, left -= kGroup * kStepRows) {
    uint4 words[kGroup][kLoads];
    const auto exists = [&](int r, int i) { return r * kStepRows < left && kLanes * i + part < kPieces; };
#pragma unroll
    for (int r = 0; r < kGroup; ++r) {
#pragma unroll
      for (int i = 0; i < kLoads; ++i)
        words[r][i] =
            exists(r, i) ? __ldg(reinterpret_cast<const uint4*>(from) + kLanes * i) : uint4{0, 0, 0, 0};
      from += 2 * kStepRows * args.k_strides.row;
    }
#pragma unroll
    for (int r = 0; r < kGroup; ++r) {
      float squares[2] = {0, 0};
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        const uint4& w = words[r][i];
        squares[0] = add_squares<T.dtype>(w.x, add_squares<T.dtype>(w.y, squares[0]));
        squares[1] = add_squares<T.dtype>(w.z, add_squares<T.dtype>(w.w, squares[1]));
      }
      float sum = squares[0] + squares[1];
#pragma unroll
      for (int i = 1; i < kLanes; i *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, i);
      const InverseNorm<T.dtype> inverse(inverse_norm(sum, args.eps));
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        const uint4& w = words[r][i];
        if (exists(r, i))
          reinterpret_cast<uint4*>(to)[kLanes * i] = {inverse.times(w.x), inverse.times(w.y),
                                                      inverse.times(w.z), inverse.times(w.w)};
      }
      to += 2 * kStepRows * T.head_dim;
    }
  }
  if constexpr (C.shares_keys(T)) {
    __syncwarp();
    if (lane == 0) ptx::add_release(slice_counts<T, C>(args) + slices.head, slices.count);
  }
}

// By a kernel of its own.
template <Traits T, ForwardConfig C>
__global__ void __launch_bounds__(C.kNormaliseThreads) normalise_keys(const __grid_constant__ Args args) {
#if FCSA_KERNEL_CODE
  const int of_head = slices_of_head<C>(args);
  const int slice = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / 32), head = slice / of_head;
  if (head < args.batch * args.kv_heads) normalise_slices<T, C, 8>(args, {head, slice - head * of_head, 1});
#endif
}

// Of slices that come next: there are few registers for loads under way, so they should be short.
template <Traits T, ForwardConfig C>
FCSA_DEVICE void prefetch_slices(const Args& args, const Slices& slices) {
  constexpr int kLineBytes = 128, kLines = (2 * T.head_dim + kLineBytes - 1) / kLineBytes;
  int lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  const char* keys = keys_of<C>(args, slices.head);
#pragma unroll 1
  for (int line = lane; line < slices.count * C.kSliceRows * kLines; line += 32) {
    const int key = slices.first * C.kSliceRows + line / kLines;
    if (key < args.nk) ptx::prefetch_l2(keys + 2 * key * args.k_strides.row + line % kLines * kLineBytes);
  }
}

// Slices that a warp normalises at the start: those of the first tiles of all blocks, two to a block where
// they come in pairs, as long as queries and keys are equally many.
template <Traits T, ForwardConfig C>
struct FirstSlices {
  static constexpr int kWarps = C.threads() / 32 - 1;
  static constexpr int kRows = C.kSliceRows * kWarps;
  static constexpr int kRounds = (C.block_m() * (C.pairs(T) ? 2 : 1) + kRows - 1) / kRows;

  FCSA_DEVICE static int count() { return static_cast<int>(gridDim.x) * kWarps * kRounds; }
};

// By the whole block, once, before it has its registers: all but the warp that copies have slices.
template <Traits T, ForwardConfig C>
FCSA_DEVICE void normalise_first_keys(const Args& args) {
  using First = FirstSlices<T, C>;
  const int warp = static_cast<int>(threadIdx.x) / 32 - 1, of_head = slices_of_head<C>(args);
  if (warp < 0) return;
#pragma unroll 1
  for (int round = 0; round < First::kRounds; ++round) {
    const int slice = static_cast<int>(round * gridDim.x + blockIdx.x) * First::kWarps + warp;
    const int head = slice / of_head;
    if (head < args.batch * args.kv_heads)
      normalise_slices<T, C, C.launch_registers() < 128 ? 4 : 8>(args, {head, slice - head * of_head, 1});
  }
}

// The rest, in turns of the warps of all producers that have nothing to copy. Several slices at a time: each
// release waits until what was written has arrived. The slices of turn `turn`; false when there are no more.
template <Traits T, ForwardConfig C>
FCSA_DEVICE bool further_slices(const Args& args, int turn, Slices& slices) {
  constexpr int kTogether = 4;
  const int of_head = slices_of_head<C>(args), turns = (of_head + kTogether - 1) / kTogether;
  // The head that all blocks together have begun, and how many of its slices are done.
  const int begun = FirstSlices<T, C>::count() / of_head, done = FirstSlices<T, C>::count() % of_head;
  const int head = turn / turns, from = (turn - head * turns) * kTogether;
  slices.head = begun + head;
  slices.first = head == 0 ? max(from, done) : from;
  slices.count = max(0, min(from + kTogether, of_head) - slices.first);
  return slices.head < args.batch * args.kv_heads;
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void normalise_further_keys(const Args& args, int warp, int warps) {
  constexpr int kSpare = C.producer_registers - (T.dtype == DType::f16 ? 8 : 0);
  constexpr int kUnderWay = kSpare < 40 ? 2 : kSpare < 56 ? 4 : 8;
  const int step = static_cast<int>(gridDim.x) * warps;
  Slices slices;
#pragma unroll 1
  for (int turn = static_cast<int>(blockIdx.x) * warps + warp; further_slices<T, C>(args, turn, slices);
       turn += step) {
    if (Slices next; further_slices<T, C>(args, turn + step, next)) prefetch_slices<T, C>(args, next);
    if (slices.count > 0) normalise_slices<T, C, kUnderWay>(args, slices);
  }
}

// Until all keys of a head (of a batch) are there, for copies by the tensor memory accelerator.
template <Traits T, ForwardConfig C>
FCSA_DEVICE void wait_for_keys(const Args& args, unsigned head) {
  const unsigned* count = slice_counts<T, C>(args) + head;
  while (ptx::load_acquire(count) < static_cast<unsigned>(slices_of_head<C>(args))) {
  }
  hopper::fence_async_global();
}

template <Traits T, ForwardConfig C>
__global__ void __launch_bounds__(C.kClearThreads) clear_counts(const __grid_constant__ Args args) {
  const int head = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (head < args.batch * args.kv_heads) slice_counts<T, C>(args)[head] = 0;
}

}  // namespace fcsa::kernels::wgmma
