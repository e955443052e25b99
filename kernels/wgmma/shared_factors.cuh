// Factors of the keys that all blocks of a persistent grid prepare for each other, in the workspace.
//
// The keys of all heads, in the order in which the blocks come to them, are dealt out in slices: the first to
// all warps of all blocks but those that copy, before they have anything to do, which is what the first tiles
// need; the rest to the producers' warps that have nothing to copy. Nobody waits but the warps that copy the
// factors of a head, for those that never wait: as long as all blocks are resident, none waits for ever.
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

template <Traits T, ForwardConfig C>
FCSA_DEVICE int slices_of_head(const Args& args) {
  int slices = static_cast<int>(C.padded_keys(args)) / C.kSliceRows;
  // Unknown to the compiler, which would keep what follows from it in registers for later.
  asm volatile("" : "+r"(slices));
  return slices;
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE const char* keys_of(const Args& args, int head) {
  const int batch = head / args.kv_heads;
  return static_cast<const char*>(args.k) +
         2 * (batch * args.k_strides.batch + (head - batch * args.kv_heads) * args.k_strides.head);
}

// By one warp: eight lanes read a row.
template <Traits T, ForwardConfig C, int pieces_under_way>
FCSA_DEVICE void prepare_slices(const Args& args, const Slices& slices) {
  constexpr int kPieces = T.head_dim / 8, kLanes = 8, kLoads = (kPieces + kLanes - 1) / kLanes;
  constexpr int kStepRows = 32 / kLanes, kSteps = C.kSliceRows / kStepRows;  // of a slice
  constexpr int kFit = pieces_under_way / kLoads, kGroup = kFit < 1 ? 1 : kFit > kSteps ? kSteps : kFit;
  static_assert(kSteps % kGroup == 0);
  int lane;  // read again: what follows from it is not to be kept in registers from call to call
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  const int part = lane % kLanes, batch = slices.head / args.kv_heads;
  int key = slices.first * C.kSliceRows + lane / kLanes;
  const char* from = keys_of<T, C>(args, slices.head) + 2 * key * args.k_strides.row + 16 * part;
  float* to = reinterpret_cast<float*>(static_cast<char*>(args.workspace) + C.workspace(T, args).factors) +
              C.factor_floats(T) * (slices.head * C.padded_keys(args) + key);
#pragma unroll 1
  for (int step = 0; step < slices.count * kSteps; step += kGroup) {
    uint4 words[kGroup][kLoads];
#pragma unroll
    for (int r = 0; r < kGroup; ++r) {
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        const bool exists = key + r * kStepRows < args.nk && kLanes * i + part < kPieces;
        words[r][i] = exists ? __ldg(reinterpret_cast<const uint4*>(from) + kLanes * i) : uint4{0, 0, 0, 0};
      }
      from += 2 * kStepRows * args.k_strides.row;
    }
#pragma unroll
    for (int r = 0; r < kGroup; ++r, key += kStepRows, to += C.factor_floats(T) * kStepRows) {
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
      const float2 factor = key_factor<T>(args, batch, key, inverse_norm(sum, args.eps));
      if (part == 0) to[0] = factor.x;
      if (C.factor_floats(T) == 2 && part == 1) to[1] = factor.y;
    }
  }
  __syncwarp();
  if (lane == 0) ptx::add_release(slice_counts<T, C>(args) + slices.head, slices.count);
}

// Of slices that come next: there are few registers for loads under way, so they should be short.
template <Traits T, ForwardConfig C>
FCSA_DEVICE void prefetch_slices(const Args& args, const Slices& slices) {
  constexpr int kLineBytes = 128, kLines = (2 * T.head_dim + kLineBytes - 1) / kLineBytes;
  int lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  const char* keys = keys_of<T, C>(args, slices.head);
#pragma unroll 1
  for (int line = lane; line < slices.count * C.kSliceRows * kLines; line += 32) {
    const int key = slices.first * C.kSliceRows + line / kLines;
    if (key < args.nk) ptx::prefetch_l2(keys + 2 * key * args.k_strides.row + line % kLines * kLineBytes);
  }
}

// Slices that a warp prepares at the start: those of the first tiles of all blocks, two to a block where they
// come in pairs, as long as queries and keys are equally many.
template <Traits T, ForwardConfig C>
struct FirstSlices {
  static constexpr int kWarps = C.threads() / 32 - 1;
  static constexpr int kRows = C.kSliceRows * kWarps;
  static constexpr int kRounds = (C.block_m() * (C.pairs(T) ? 2 : 1) + kRows - 1) / kRows;

  FCSA_DEVICE static int count() { return static_cast<int>(gridDim.x) * kWarps * kRounds; }
};

// By the whole block, once, before it has its registers: all but the warp that copies have slices.
template <Traits T, ForwardConfig C>
FCSA_DEVICE void prepare_first_factors(const Args& args) {
  using First = FirstSlices<T, C>;
  const int warp = static_cast<int>(threadIdx.x) / 32 - 1, of_head = slices_of_head<T, C>(args);
  if (warp < 0) return;
#pragma unroll 1
  for (int round = 0; round < First::kRounds; ++round) {
    const int slice = static_cast<int>(round * gridDim.x + blockIdx.x) * First::kWarps + warp;
    const int head = slice / of_head;
    if (head < args.batch * args.kv_heads)
      prepare_slices<T, C, C.launch_registers() < 128 ? 4 : 8>(args, {head, slice - head * of_head, 1});
  }
}

// The rest, in turns of the warps of all producers that have nothing to copy. Several slices at a time: each
// release waits until what was written has arrived.
template <Traits T, ForwardConfig C>
struct FurtherSlices {
  static constexpr int kTogether = 4;

  const Args& args;
  const int begun, done;  // the head that all blocks together have begun, and how many of its slices are done

  FCSA_DEVICE explicit FurtherSlices(const Args& arguments)
      : args(arguments),
        begun(FirstSlices<T, C>::count() / slices_of_head<T, C>(args)),
        done(FirstSlices<T, C>::count() % slices_of_head<T, C>(args)) {}

  // The slices of turn `turn`; false when there are no more.
  FCSA_DEVICE bool at(int turn, Slices& slices) const {
    const int of_head = slices_of_head<T, C>(args);
    const int turns = (of_head + kTogether - 1) / kTogether, head = turn / turns;
    slices.head = begun + head;
    const int from = (turn - head * turns) * kTogether;
    slices.first = head == 0 ? max(from, done) : from;
    slices.count = max(0, min(from + kTogether, of_head) - slices.first);
    return slices.head < args.batch * args.kv_heads;
  }
};

template <Traits T, ForwardConfig C>
FCSA_DEVICE void prepare_further_factors(const Args& args, int warp, int warps) {
  constexpr int kUnderWay = C.producer_registers < 40 ? 2 : C.producer_registers < 56 ? 4 : 8;
  const FurtherSlices<T, C> further(args);
  int turn = static_cast<int>(blockIdx.x) * warps + warp;
  Slices slices, next;
  bool more = further.at(turn, slices);
#pragma unroll 1
  while (more) {
    turn += static_cast<int>(gridDim.x) * warps;
    more = further.at(turn, next);
    if (more) prefetch_slices<T, C>(args, next);
    if (slices.count > 0) prepare_slices<T, C, kUnderWay>(args, slices);
    slices = next;
  }
}

// Until all factors of a head (of a batch) are there, for copies by the tensor memory accelerator.
template <Traits T, ForwardConfig C>
FCSA_DEVICE void wait_for_factors(const Args& args, unsigned head) {
  const unsigned* count = slice_counts<T, C>(args) + head;
  while (ptx::load_acquire(count) < static_cast<unsigned>(slices_of_head<T, C>(args))) {
  }
  hopper::fence_async_global();
}

template <Traits T, ForwardConfig C>
__global__ void __launch_bounds__(C.kClearThreads) clear_counts(const __grid_constant__ Args args) {
  const int head = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (head < args.batch * args.kv_heads) slice_counts<T, C>(args)[head] = 0;
}

}  // namespace fcsa::kernels::wgmma
