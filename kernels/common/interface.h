// What a kernel and its caller agree on: the compile-time traits of a problem, the run-time arguments, and
// the list of launches. Includes nothing, so that g++, clang++, nvcc and NVRTC compile it alike.
#pragma once

#if defined(__CUDACC__)
#define FCSA_HD __host__ __device__
#else
#define FCSA_HD
#endif

namespace fcsa::kernels {

enum class DType : int { f32, bf16, f16 };

// Storage of the additive bias: none, f32, or the dtype of q, k and v.
enum class Bias : int { none, f32, same };

// fixed_bound: |S| is known not to exceed Args::bound, so P = exp(S - constant) and O is never rescaled.
// running_maximum: the online softmax, for everything else.
enum class Softmax : int { fixed_bound, running_maximum };

// What a problem fixes at compile time. A structural type: used as a template parameter.
struct Traits {
  DType dtype = DType::f32;
  int head_dim = 64;
  bool causal = false;
  bool key_mask = false;
  Bias bias = Bias::none;
  bool head_scale = false;  // scale is read per query head from Args::head_scale
  bool l2norm_qk = true;
  int groups = 1;     // l2norm over each of `groups` equal parts of the head dimension
  bool tf32 = false;  // f32 products on tensor cores may round their operands to TF32
  Softmax softmax = Softmax::fixed_bound;

  bool operator==(const Traits&) const = default;
};

FCSA_HD constexpr int element_bytes(DType dtype) {
  return dtype == DType::f32 ? 4 : 2;
}

// Distances in elements between neighbours along an axis; the channel axis is contiguous.
struct Strides {
  long long batch = 0;
  long long head = 0;
  long long row = 0;
};

// Run-time arguments of every forward kernel. Pointers are device pointers on a GPU. q, k, v and o are
// aligned to 16 bytes and their strides are multiples of 16 bytes. Query head h reads key/value head h /
// (heads / kv_heads).
//   q, o  [batch, heads, nq, head_dim]      k, v  [batch, kv_heads, nk, head_dim]      through strides
struct Args {
  const void* q = nullptr;
  const void* k = nullptr;
  const void* v = nullptr;
  void* o = nullptr;
  float* lse = nullptr;  // [batch, heads, nq] contiguous, natural logarithm; -inf: row sees no key
  const unsigned char* key_mask = nullptr;  // [batch, nk], nonzero: visible
  const void* bias = nullptr;         // [bias_batch, bias_heads, nq, nk]; batch b reads b mod bias_batch
  const float* head_scale = nullptr;  // [heads]
  void* workspace = nullptr;          // LaunchPlan::workspace_bytes, 256-byte aligned
  Strides q_strides, k_strides, v_strides, o_strides, bias_strides;
  long long key_mask_stride = 0;  // elements between batches
  int batch = 1, heads = 1, kv_heads = 1, nq = 1, nk = 1;
  int bias_batch = 1, bias_heads = 1;
  float scale = 8.0f;
  float bound = 8.0f;  // fixed_bound only: no logit exceeds it in magnitude
  float eps = 1e-12f;  // norms are clamped to at least this
};

// Boxes of a tensor that the tensor memory accelerator (sm_90 and later) copies, from there or to there: what
// cuTensorMapEncodeTiled is given. Innermost dimension first, whose elements are contiguous; elements have 2
// bytes (a float is two of them); what lies outside of the tensor reads as zero, and isn't written.
struct TensorMap {
  // 5 is dout (backward_maps.h).
  enum Tensor : int { q, k, v, workspace, o, bias = 6 };
  int tensor = q;                  // of Args
  long long first_byte = 0;        // from the start of that tensor
  int rank = 4;                    // 4 or 5
  long long size[5] = {};          // elements
  long long stride_bytes[4] = {};  // of dimensions 1 to rank - 1; multiples of 16
  int box[5] = {};                 // elements, at most 256
  int swizzle_bytes = 128;         // 128, 64 or 32: as wide as a row of the box
};

// Encoded maps, the second parameter of kernels that use them: CUtensorMap each.
struct alignas(64) TensorMaps {
  static constexpr int kMost = 4;
  unsigned long long map[kMost][16];
};

// One kernel launch. GPU: grid and block of `kernel`, in order on one stream. CPU: grid_x independent tasks.
struct Launch {
  int kernel = 0;  // index into KernelTemplate::kernels
  unsigned grid_x = 1, grid_y = 1, grid_z = 1;
  unsigned threads = 1;
  unsigned smem_bytes = 0;  // GPU: dynamic shared memory. CPU: scratch per thread, 64-byte aligned
  // GPU: a persistent kernel, whose blocks take turns at the work: grid_x is reduced to this many blocks for
  // each multiprocessor of the device. 0: grid_x as it is.
  unsigned blocks_per_multiprocessor = 0;
  bool cooperative = false;  // GPU: blocks wait for each other, so all must run at the same time or none
};

// What is left of a problem without queries, keys or batches: zeros, and lse of -inf (sizes.h).
struct Nothing {
  bool to_compute = false;  // such a problem, and no kernel is launched
  bool backward = false;
  int element_bytes = 0, head_dim = 0, bias_bytes = 0;
};

struct LaunchPlan {
  int count = 0;
  Launch steps[4] = {};
  long long workspace_bytes = 0;
  int map_count = 0;
  TensorMap maps[TensorMaps::kMost];  // with = {} here GCC 12 would not make a LaunchPlan from {}
  Nothing nothing;
};

// Blocks to launch along x on a device of so many multiprocessors.
FCSA_HD constexpr unsigned grid_x_on(const Launch& launch, int multiprocessors) {
  const unsigned most = launch.blocks_per_multiprocessor * static_cast<unsigned>(multiprocessors);
  return launch.blocks_per_multiprocessor != 0 && most < launch.grid_x ? most : launch.grid_x;
}

// Where a map's tensor starts.
FCSA_HD inline const void* start_of(const TensorMap& map, const Args& args) {
  const void* tensor = map.tensor == TensorMap::q      ? args.q
                       : map.tensor == TensorMap::k    ? args.k
                       : map.tensor == TensorMap::v    ? args.v
                       : map.tensor == TensorMap::o    ? args.o
                       : map.tensor == TensorMap::bias ? args.bias
                                                       : args.workspace;
  return static_cast<const char*>(tensor) + map.first_byte;
}

FCSA_HD constexpr long long ceil_div(long long a, long long b) {
  return (a + b - 1) / b;
}

// Exponent offset of the fixed-bound variant, in base 2: P = exp2(S * log2(e) - offset), lse = (log2(sum P) +
// offset) * ln(2). In f32 and bf16 P lies in [2^-40, 2^40] without any offset up to a bound of 27, and then
// exponents near zero lose the fewest bits to rounding; above, the largest P is 2^40 (the smallest stays
// normal up to a bound of 43). In f16, whose range is narrow, the largest P is always 2^15.
FCSA_HD constexpr float bound_offset_log2(DType dtype, float bound) {
  const float bound_log2 = bound * 1.4426950408889634f;
  if (dtype == DType::f16) return bound_log2 - 15.0f;
  return bound_log2 <= 40.0f ? 0.0f : bound_log2 - 40.0f;
}

}  // namespace fcsa::kernels
