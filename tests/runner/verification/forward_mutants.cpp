#include "tests/runner/verification/mutants.h"

namespace fcsa::runner {
namespace {

using kernels::Bias;
using kernels::DType;
using kernels::Problem;

// Few different ones, so that many mutants share a problem, its binary and its references.
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
  const std::string seen = "b.visibility = visibility_of(T, args);@@\n  b.first_row",
                    rows = "for (int i = 0; i < @b.rows@; ++i) {\n    const float sum";
  return {
      {"the last key is missing", {{seen, "b.visibility.nk -= 1;"}}},
      {"one key too many", {{seen, "b.visibility.nk += 1;"}}},
      {"the causal edge is one too far", {{seen, "b.visibility.nq -= 1;"}}, causal},
      {"the causal edge ignores that lengths differ", {{seen, "b.visibility.nq = b.visibility.nk;"}}, causal},
      {"a partial tile of keys after eight whole ones is skipped",
       {{"Shown shown = Shown::all;@@",
         "if (first_key >= 8 * C.block_keys() && keys < C.block_keys()) continue;"}}},
      {"a partial tile of rows after eight whole ones misses a key",
       {{"b.q = static_cast<float*>(scratch);@@",
         "b.visibility.nk -= b.first_row >= 8 * C.block_rows() && b.rows < C.block_rows();"}}},
      {"the tail of a row tile is left as it was", {{rows, "b.rows - (b.rows < C.block_rows())"}}},
      {"rows written that don't exist", {{rows, "C.block_rows()"}}},
      {"the tail of a tile of keys isn't weighed",
       {{"const int keys = @static_cast<int>(columns.size())@;",
         "static_cast<int>(columns.size()) / 4 * 4"}}},
      {"the wrong key/value head of a group",
       {{"b.kv_head = @b.head / (args.heads / args.kv_heads)@;", "b.head % args.kv_heads"}}},
      {"O drifts by 1e-5 a block",
       {{"o[i][j] = @load<Vector>(to + i * D + j * W)@;", "load<Vector>(to + i * D + j * W) * 1.00001f"}}},
  };
}

std::vector<Mutant> of_places() {
  return {
      {"o written by the strides of q", {{"row_of<T>(args.o, @args.o_strides@, b.batch", "args.q_strides"}}},
      {"q read by the strides of o", {{"row_of<T>(args.q, @args.q_strides@, b.batch", "args.o_strides"}}},
      {"k read by the strides of v",
       {{"row_of<T>(args.k, @args.k_strides@, batch, head, key + i)", "args.v_strides"}}},
      {"v read by the strides of k",
       {{"row_of<T>(args.v, @args.v_strides@, batch, head, key + i)", "args.k_strides"}},
       in_bf16},
      {"q read past its end", {{"b.first_row + @(i < b.rows ? i : b.rows - 1)@", "i"}}},
      {"k and v read past their end",
       {{"const bool exists = @key + i < args.nk@ &&", "key + i < args.nk + 1"}},
       in_bf16},
      {"a write behind every row of o",
       {{"for (int d = 0; d < @D@; d += W)\n      store_elements<T.dtype, W>(to + d", "D + W"}}},
      {"an input is written to",
       {{"scale_row<T, W>(row, 1.0f, args.eps);@@\n      } else",
         "store(const_cast<char*>(row_of<T>(args.k, args.k_strides, batch, head, key + i)), row[0]);"}}},
      {"the sums of O start with what the scratch holds", {{"@clear_row<T, W>(b.o + i * D);@", ""}}},
      {"the sums of P start with what the scratch holds",
       {{"@store(b.sum + i * W, typename VectorTypes<W>::Vector{});@", ""}}},
      {"more scratch than was asked for",
       {{"safe_scale(T, scale_of<T>(args, b.head)) * (kLog2E / logit_unit(T));@@",
         "b.visible[C.visible_floats()] = 1;"}}},
  };
}

std::vector<Mutant> of_masks() {
  const std::string stride = "args.key_mask ? args.key_mask + @b.batch * args.key_mask_stride@ : nullptr",
                    byte = "(!b.mask || @b.mask[first_key + j] != 0@)";
  return {
      {"the stride of the mask ignored", {{stride, "1LL * b.batch * args.nk"}}, masked},
      {"the mask of the first batch for all", {{stride, "0LL"}}, masked},
      {"only a mask byte of 1 is visible", {{byte, "b.mask[first_key + j] == 1"}}, masked},
      {"a mask byte is a sign", {{byte, "static_cast<signed char>(b.mask[first_key + j]) > 0"}}, masked},
      {"a walk that stops at the first hidden tile",
       {{"if (shown == Shown::none) @continue;@", "break;"}},
       masked},
      {"a mask that hides a part of a tile is ignored",
       {{"first_key, keys, @shown == Shown::all@);", "shown != Shown::none"}},
       masked},
      {"NaN from values that the mask hides",
       {{"(!mask || @mask[key + i] != 0@)", "true"},
        {"if (@!all_finite<C.vector_floats>(b.o, b.rows * T.head_dim)@)", "false"}},
       masked},
      {"NaN from queries that see nothing",
       {{"if constexpr (Edge) e = @bits_as<Vector>(bits_as<Ints>(e) & seen[i][j])@;",
         "e * __builtin_convertvector(-seen[i][j], Vector)"}},
       causal},
  };
}

std::vector<Mutant> of_numbers() {
  const std::string norm = "return 1.0f / (@norm > eps ? norm : eps@);";
  return {
      {"eps ignored", {{norm, "norm"}}},
      {"eps added to the norm", {{norm, "norm + eps"}}},
      {"eps clamps the square of the norm", {{norm, "sum > eps ? norm : __builtin_sqrtf(eps)"}}},
      {"squares of rows of 1e20 overflow", {{"if (@sum > 1e-20f && sum < 1e37f@)", "sum > 1e-20f"}}},
      {"bf16 cut off instead of rounded",
       {{"const Bits rounded = @(raw + 0x7fffu + (raw >> 16 & 1u)) >> 16@;", "raw >> 16"}},
       in_bf16},
      {"f16 cut off instead of rounded",
       {{"const Bits normal = @(magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13@;",
         "(magnitude - 0x38000000u) >> 13"}},
       in_f16},
      {"a coefficient of exp2 with too few digits", {{"p * f + @0x1.62e428p-1f@", "0x1.62ep-1f"}}},
      {"norms ignore the groups",
       {{"multiply_row_twice<kWidth, W>(group, @inverse_norm<kWidth, W>(group, eps)@, factor);",
         "inverse_norm<T.head_dim, W>(row, eps)"}},
       biased},
      {"raw rows are normalised",
       {{"@multiply_row<kWidth, W>(group, factor);@",
         "multiply_row_twice<kWidth, W>(group, inverse_norm<kWidth, W>(group, eps), factor);"}},
       raw},
      {"O isn't rescaled", {{"@b.o[i * T.head_dim + d] *= factor;@", ""}}, biased},
      {"the sum isn't rescaled", {{"@b.sum[i * C.vector_floats + lane] *= factor;@", ""}}, biased},
      {"P of this block isn't rescaled", {{"@p[j] *= factor;@", ""}}, biased},
      {"lse in base 2", {{"@0.6931471805599453@ * excess_of", "1.0"}}, raw},
      {"rows that see nothing are divided by 0",
       {{"@sum == 0.0f ? 0.0f : 1.0f / sum@;", "1.0f / sum"}},
       causal},
      {"lse of rows that see nothing is 0", {{"sum == 0.0f ? @-__builtin_inff()@", "0.0f"}}, causal},
  };
}

std::vector<Mutant> of_biases() {
  const std::string head = "@(args.bias_heads == 1 ? 0 : b.head)@ * strides.head";
  return {
      {"rows of the bias taken to be dense",
       {{"b.bias_pitch = @strides.row * kBytes@;", "1LL * args.nk * kBytes"}},
       biased},
      {"one bias for all heads read as one each", {{head, "b.head"}}, biased},
      {"the bias of every head read as that of the first", {{head, "0"}}, biased},
      {"the batches that share a bias are neighbours",
       {{"@b.batch % args.bias_batch@ * strides.batch", "b.batch / (args.batch / args.bias_batch)"}},
       biased},
      {"a bias of minus infinity hides nothing",
       {{"if constexpr (T.bias != Bias::none) e = @bits_as<Vector>(bits_as<Ints>(e) & ~(x < lowest))@;",
         "e"}},
       biased},
      {"the bias read past its end", {{"if (@key + C.key_step() > b.visibility.nk@)", "false"}}, biased},
      {"the bias in base e", {{"@kLog2E / logit_unit(T)@, s[i][j])", "1.0f / logit_unit(T)"}}, biased},
      {"the scale of the key/value head",
       {{"args.head_scale ? @args.head_scale[head]@ :", "args.head_scale[head - head % 2]"}},
       biased},
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
