#include "tests/runner/mutants.h"

namespace fcsa::runner {
namespace {

using kernels::Bias;
using kernels::DType;
using kernels::Problem;

// Few different ones, so that many mutants share a problem and its references.
void masked(Problem& p) {
  p.key_mask = true;
}
void causal(Problem& p) {
  p.causal = true;
}
void biased(Problem& p) {
  p.causal = true;
  p.bias = Bias::f32;
  p.head_scale = true;
  p.groups = 2;
}
void raw(Problem& p) {
  p.l2norm_qk = false;
}
void in_bf16(Problem& p) {
  p.dtype = DType::bf16;
}
void in_f16(Problem& p) {
  p.dtype = DType::f16;
}

std::vector<Mutant> of_keys() {
  return {
      {"the last key is missing", "(b, b.key_end(b.rows - 1), weighed_rows)",
       "(b, b.key_end(b.rows - 1) - 1, weighed_rows)"},
      {"one key too many", "return end < nk ? end : nk;", "return end < nk + 1 ? end : nk + 1;"},
      {"the causal edge is one too far", "b.shift = T.causal ? static_cast<long long>(args.nk) - args.nq",
       "b.shift = T.causal ? static_cast<long long>(args.nk) - args.nq + 1", causal},
      {"the causal edge ignores that lengths differ",
       "b.shift = T.causal ? static_cast<long long>(args.nk) - args.nq", "b.shift = T.causal ? 0", causal},
      {"a partial tile of keys after eight whole ones is skipped", "Shown shown = Shown::all;",
       "Shown shown = Shown::all;\n    if (first_key >= 8 * C.block_keys() && keys < C.block_keys()) "
       "continue;"},
      {"a partial tile of rows after eight whole ones misses a key",
       "(b, b.key_end(b.rows - 1), weighed_rows)",
       "(b, b.key_end(b.rows - 1) - (b.first_row >= 8 * C.block_rows() && b.rows < C.block_rows()), "
       "weighed_rows)"},
      {"the tail of a row tile is left as it was", "for (int i = 0; i < b.rows; ++i) {\n    const float sum",
       "for (int i = 0; i < b.rows - (b.rows < C.block_rows()); ++i) {\n    const float sum"},
      {"the tail of a tile of keys isn't weighed",
       "const int weighed = seen < keys ? static_cast<int>(seen) : keys;",
       "const int weighed = (seen < keys ? static_cast<int>(seen) : keys) / C.unroll * C.unroll;"},
      {"the wrong key/value head of a group", "b.kv_head = b.head / (args.heads / args.kv_heads);",
       "b.kv_head = b.head % args.kv_heads;"},
      {"O drifts by 1e-5 a block", "for (int j = 0; j < N; ++j) o[i][j] = load<Vector>(to + i * D + j * W);",
       "for (int j = 0; j < N; ++j) o[i][j] = load<Vector>(to + i * D + j * W) * 1.00001f;"},
  };
}

std::vector<Mutant> of_places() {
  return {
      {"o written by the strides of q", "row_of<T>(args.o, args.o_strides, b.batch",
       "row_of<T>(args.o, args.q_strides, b.batch"},
      {"q read by the strides of o", "row_of<T>(args.q, args.q_strides, b.batch",
       "row_of<T>(args.q, args.o_strides, b.batch"},
      {"k read by the strides of v", "row_of<T>(args.k, args.k_strides, batch, head, key + i)",
       "row_of<T>(args.k, args.v_strides, batch, head, key + i)"},
      {"v read by the strides of k", "row_of<T>(args.v, args.v_strides, batch, head, key + i)",
       "row_of<T>(args.v, args.k_strides, batch, head, key + i)", in_bf16},
      {"q read past its end", "b.first_row + (i < b.rows ? i : b.rows - 1)", "b.first_row + i"},
      {"k and v read past their end", "bool exists = key + i < args.nk",
       "bool exists = key + i < args.nk + 1", in_bf16},
      {"a write behind every row of o",
       "for (int d = 0; d < D; d += W)\n      store_elements<T.dtype, W>(to + d",
       "for (int d = 0; d < D + W; d += W)\n      store_elements<T.dtype, W>(to + d"},
      {"rows written that don't exist", "for (int i = 0; i < b.rows; ++i) {\n    const float sum",
       "for (int i = 0; i < C.block_rows(); ++i) {\n    const float sum"},
      {"an input is written to", "        scale_row<T, W>(row, 1.0f, args.eps);\n      } else",
       "        scale_row<T, W>(row, 1.0f, args.eps);\n        store(const_cast<char*>(row_of<T>(args.k, "
       "args.k_strides, batch, head, key + i)), row[0]);\n      } else"},
      {"the sums of O start with what the scratch holds", "    clear_row<T, W>(b.o + i * D);\n", ""},
      {"the sums of P start with what the scratch holds",
       "    store(b.sum + i * W, typename VectorTypes<W>::Vector{});\n", ""},
      {"more scratch than was asked for", "for (int i = 0; i < rows; ++i) {\n    float* const row = b.q",
       "b.visible[C.visible_floats()] = 1;\n  for (int i = 0; i < rows; ++i) {\n    float* const row = b.q"},
  };
}

std::vector<Mutant> of_masks() {
  return {
      {"the stride of the mask ignored", "b.batch * args.key_mask_stride", "1LL * b.batch * args.nk", masked},
      {"the mask of the first batch for all", "args.key_mask + b.batch * args.key_mask_stride",
       "args.key_mask", masked},
      {"only a mask byte of 1 is visible", "b.mask[first_key + j] != 0", "b.mask[first_key + j] == 1",
       masked},
      {"a mask byte is a sign", "b.mask[first_key + j] != 0", "(signed char)b.mask[first_key + j] > 0",
       masked},
      {"a walk that stops at the first hidden tile", "if (shown == Shown::none) continue;",
       "if (shown == Shown::none) break;", masked},
      {"a mask that hides a part of a tile is ignored", "shown == Shown::all)", "shown != Shown::none)",
       masked},
  };
}

std::vector<Mutant> of_numbers() {
  return {
      {"eps ignored", "return 1.0f / (norm > eps ? norm : eps);", "return 1.0f / norm;"},
      {"eps added to the norm", "return 1.0f / (norm > eps ? norm : eps);", "return 1.0f / (norm + eps);"},
      {"eps clamps the square of the norm", "return 1.0f / (norm > eps ? norm : eps);",
       "return 1.0f / (sum > eps ? norm : __builtin_sqrtf(eps));"},
      {"squares of rows of 1e20 overflow", "sum > 1e-20f && sum < 1e37f", "sum > 1e-20f"},
      {"bf16 cut off instead of rounded", "(raw + 0x7fffu + (raw >> 16 & 1u)) >> 16", "raw >> 16", in_bf16},
      {"f16 cut off instead of rounded", "(magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13",
       "(magnitude - 0x38000000u) >> 13", in_f16},
      {"a coefficient of exp2 with too few digits", "0x1.62e428p-1f", "0x1.62ep-1f"},
      {"norms ignore the groups", "constexpr int kWidth = T.l2norm_qk ? T.head_dim / T.groups : T.head_dim;",
       "constexpr int kWidth = T.head_dim;", biased},
      {"raw rows are normalised",
       "if constexpr (T.l2norm_qk) {\n      multiply_row_twice<kWidth, W>(group, inverse",
       "if constexpr (true) {\n      multiply_row_twice<kWidth, W>(group, inverse", raw},
      {"O isn't rescaled", "    for (int d = 0; d < T.head_dim; ++d) b.o[i * T.head_dim + d] *= factor;\n",
       "", biased},
      {"the sum isn't rescaled", "b.sum[i * C.vector_floats + lane] *= factor;",
       "b.sum[i * C.vector_floats + lane] *= 1;", biased},
      {"P of this block isn't rescaled", "    for (int j = 0; j < column; ++j) p[j] *= factor;\n", "",
       biased},
      {"lse in base 2", "0.6931471805599453 * excess_of", "1.0 * excess_of", raw},
      {"rows that see nothing are divided by 0", "sum == 0.0f ? 0.0f : 1.0f / sum", "1.0f / sum", causal},
      {"lse of rows that see nothing is 0", "sum == 0.0f ? -__builtin_inff()", "sum == 0.0f ? 0.0f", causal},
  };
}

std::vector<Mutant> of_biases() {
  return {
      {"rows of the bias taken to be dense", "b.bias_pitch = strides.row * kBytes;",
       "b.bias_pitch = 1LL * args.nk * kBytes;", biased},
      {"one bias for all heads read as one each", "(args.bias_heads == 1 ? 0 : b.head)", "b.head", biased},
      {"the bias of every head read as that of the first", "(args.bias_heads == 1 ? 0 : b.head)", "0",
       biased},
      {"the batches that share a bias are neighbours", "b.batch % args.bias_batch",
       "b.batch / (args.batch / args.bias_batch)", biased},
      {"a bias of minus infinity hides nothing", "(bits_as<Ints>(e) & ~(x < lowest))", "(bits_as<Ints>(e))",
       biased},
      {"the bias read past its end", "if (key + C.key_step() > b.nk) {", "if (false) {", biased},
      {"the bias in base e", "kLog2E / logit_unit(T), s[i][j])", "1.0f / logit_unit(T), s[i][j])", biased},
      {"the scale of the key/value head", "args.head_scale[head] : args.scale",
       "args.head_scale[head - head % 2] : args.scale", biased},
  };
}

}  // namespace

std::vector<Mutant> forward_mutants() {
  std::vector<Mutant> all;
  for (auto&& part : {of_keys(), of_places(), of_masks(), of_numbers(), of_biases()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace fcsa::runner
