#include "tests/runner/verification/mutants.h"

namespace fcsa::runner {
namespace {

using kernels::Bias;
using kernels::Problem;

// As in forward_mutants.cpp, few different problems.
void masked(Problem& p) {
  p.key_mask = true;
}
// So that rows that see nothing are among those that see something.
void causal(Problem& p) {
  p.causal = p.key_mask = true;
}
void biased(Problem& p) {
  p.key_mask = true;
  p.bias = Bias::f32;
  p.bias_gradient = true;
  p.scale_gradient = true;
}
void in_bf16(Problem& p) {
  p.dtype = kernels::DType::bf16;
}
void deterministic(Problem& p) {
  p.deterministic = true;
}

std::vector<Mutant> of_places() {
  return {
      {"dq written by the strides of q",
       {{"element_of(@args.dq_strides@, batch, head, row)", "args.q_strides"}}},
      {"dk written by the strides of k",
       {{"element_of(@args.dk_strides@, batch, kv_head, key)", "args.k_strides"}}},
      {"dv written by the strides of dk",
       {{"element_of(@args.dv_strides@, batch, kv_head, key)", "args.dk_strides"}}},
      {"dout read by the strides of q",
       {{"row_of<T>(args.dout, @args.dout_strides@, batch, head, row)", "args.q_strides"}}},
      {"o read by the strides of dout",
       {{"row_of<T>(args.o, @args.o_strides@, batch, head, i)", "args.dout_strides"}}},
      {"v read by the strides of k",
       {{"row_of<T>(args.v, @args.v_strides@, batch, kv_head, existing)", "args.k_strides"}}},
      {"dV starts with what the scratch holds", {{"@clear_rows<T, C>(b.dv, C.padded_keys());@", ""}}},
      {"the sums of dQ start with what is there",
       {{"@clear_row<T, C.vector_floats>(sums.first + row * sums.pitch);@", ""}}},
      {"dbias written by the strides of the bias",
       {{"(i * @args.dbias_strides.row@ + j)", "args.bias_strides.row"}},
       biased},
  };
}

std::vector<Mutant> of_pairs() {
  const std::string rows = "const Range seeing = @b.rows_of(key, C.sum_rows)@;";
  return {
      {"one query head of a group is forgotten",
       {{"head < @(kv_head + 1) * group@; ++head)\n      for", "(kv_head + 1) * group - (group > 1)"}}},
      {"the first row that sees a key is one too late",
       {{rows, "Range{b.rows_of(key, C.sum_rows).first + 1, b.rows_of(key, C.sum_rows).end}"}},
       causal},
      {"NaN from rows that see nothing",
       {{"if (@lse == -__builtin_inff()@)", "false"},
        {"@b.careful_rows |= !all_finite<W>(b.q + i * D, D) || !all_finite<W>(b.dout + i * D, D);@", ""}},
       causal},
      {"the mask of the first batch for all",
       {{"args.key_mask + @batch * args.key_mask_stride@ + b.first_key", "0LL"}},
       masked},
      {"only a mask byte of 1 is visible", {{"(!mask || @mask[j] != 0@)", "mask[j] == 1"}}, masked},
      {"gradients of a hidden tile are left as they were",
       {{"@store_keys<T, C>(args, batch, kv_head, b);@",
         "if (any_shown) store_keys<T, C>(args, batch, kv_head, b);"}},
       masked},
      {"a sum over batches that ends at the first hidden tile",
       {{"task % key_blocks, b)) @continue;@", "{ batch = args.batch; break; }"}},
       biased},
      {"dbias of the last batch that shares it is missing",
       {{"batch < @args.batch@; batch += args.bias_batch)", "args.batch - 1"}},
       biased},
      {"dscale without its last block",
       {{"block < @blocks@; ++block)\n      sum", "blocks - (blocks > 1)"}},
       biased},
  };
}

std::vector<Mutant> of_numbers() {
  return {
      {"a gradient without its projection",
       {{"gradient[d] = @factor * (gradient[d] - row[d] * along)@;", "factor * gradient[d]"}}},
      {"clamped groups have a gradient",
       {{"const float factor = @inverse * usable_eps(eps) < 0.9999998f ? inverse : 0.0f@;", "inverse"}}},
      {"no delta", {{"delta[i] = @dot<D, W>(row, dout)@;", "0.0f"}}},
      {"dk in base 2", {{"store_row<T, W>(dk, @kLn2 * backward_unit(T)@", "backward_unit(T)"}}},
      {"dq without the scale", {{"store_row<T, W>(dq, @scale@, args.dq", "1.0f"}}},
      {"eps ignored", {{"return 1.0f / (@norm > eps ? norm : eps@);", "norm"}}},
      {"bf16 cut off instead of rounded",
       {{"const Bits rounded = @(raw + 0x7fffu + (raw >> 16 & 1u)) >> 16@;", "raw >> 16"}},
       in_bf16},
      {"the bias in base e", {{"@kLog2E / backward_unit(T)@, s[i][j])", "1.0f / backward_unit(T)"}}, biased},
      {"the order of a sum depends on when it is made",
       {{"@delta[i] = dot<D, W>(row, dout);@",
         "static unsigned state = 1;\n"
         "state = state * 1664525u + 1013904223u;\n"
         "delta[i] = dot<D, W>(row, dout) * (state >> 31 ? 1.0f : 1.0000002f);"}},
       deterministic},
  };
}

}  // namespace

std::vector<Mutant> backward_mutants() {
  std::vector<Mutant> all;
  for (auto&& part : {of_places(), of_pairs(), of_numbers()}) all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace fcsa::runner
