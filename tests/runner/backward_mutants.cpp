#include "tests/runner/mutants.h"

namespace fcsa::runner {
namespace {

using kernels::Bias;
using kernels::Problem;

// As in forward_mutants.cpp, few different problems.
void masked(Problem& p) {
  p.key_mask = true;
}
void causal(Problem& p) {
  p.causal = true;
}
void biased(Problem& p) {
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

}  // namespace

std::vector<Mutant> backward_mutants() {
  return {
      {"a gradient without its projection", "gradient[d] = factor * (gradient[d] - row[d] * along);",
       "gradient[d] = factor * gradient[d];"},
      {"clamped groups have a gradient", "? inverse : 0.0f;", "? inverse : inverse;"},
      {"dq written by the strides of q", "element_of(args.dq_strides, batch, head, row)",
       "element_of(args.q_strides, batch, head, row)"},
      {"dk written by the strides of k", "element_of(args.dk_strides, batch, kv_head, key)",
       "element_of(args.k_strides, batch, kv_head, key)"},
      {"dv written by the strides of dk", "element_of(args.dv_strides, batch, kv_head, key)",
       "element_of(args.dk_strides, batch, kv_head, key)"},
      {"dout read by the strides of q", "row_of<T>(args.dout, args.dout_strides, batch, head, row)",
       "row_of<T>(args.dout, args.q_strides, batch, head, row)"},
      {"o read by the strides of dout", "row_of<T>(args.o, args.o_strides, batch, head, i)",
       "row_of<T>(args.o, args.dout_strides, batch, head, i)"},
      {"v read by the strides of k", "row_of<T>(args.v, args.v_strides, batch, kv_head, existing)",
       "row_of<T>(args.v, args.k_strides, batch, kv_head, existing)"},
      {"gradients of a hidden tile are left as they were", "    store_keys<T, C>(args, batch, kv_head, b);\n",
       "    if (any_shown) store_keys<T, C>(args, batch, kv_head, b);\n", masked},
      {"dV starts with that of the block before", "    clear_rows<T, C>(b.dv, C.padded_keys());\n", ""},
      {"no delta", "delta[i] = dot<D, W>(row, dout);", "delta[i] = 0.0f;"},
      {"dk in base 2", "store_row<T, W>(dk, kLn2", "store_row<T, W>(dk, 1.0f"},
      {"one query head of a group is forgotten", "head < (kv_head + 1) * group; ++head)\n      for",
       "head < (kv_head + 1) * group - (group > 1); ++head)\n      for"},
      {"the first row that sees a key is one too late",
       "const long long begin = first_key + key - shift - first_row;",
       "const long long begin = first_key + key - shift - first_row + 1;", causal},
      {"the mask of the first batch for all", "args.key_mask + batch * args.key_mask_stride + b.first_key",
       "args.key_mask + b.first_key", masked},
      {"only a mask byte of 1 is visible", "(!mask || mask[j] != 0)", "(!mask || mask[j] == 1)", masked},
      {"a walk over keys that stops at the first hidden tile",
       "if (!stage_keys<T, C>(args, batch, kv_head, block, b)) continue;",
       "if (!stage_keys<T, C>(args, batch, kv_head, block, b)) break;",
       [](Problem& p) {
         p.key_mask = true;
         p.bias = Bias::f32;
         p.bias_gradient = true;
       }},
      {"dbias written by the strides of the bias", "(i * args.dbias_strides.row + j)",
       "(i * args.bias_strides.row + j)", biased},
      {"dbias of the last batch that shares it is missing",
       "for (int batch = bias_batch; batch < args.batch; batch += args.bias_batch)",
       "for (int batch = bias_batch; batch < args.batch - 1; batch += args.bias_batch)", biased},
      {"dscale without its last block", "block < blocks; ++block)\n      sum",
       "block < blocks - (blocks > 1); ++block)\n      sum", biased},
      {"bf16 cut off instead of rounded", "(raw + 0x7fffu + (raw >> 16 & 1u)) >> 16", "raw >> 16", in_bf16},
      {"the order of a sum depends on when it is made", "delta[i] = dot<D, W>(row, dout);",
       "static unsigned state = 1;\n    state = state * 1664525u + 1013904223u;\n    delta[i] = dot<D, "
       "W>(row, dout) * (state >> 31 ? 1.0f : 1.0000002f);",
       deterministic},
      {"eps ignored", "return 1.0f / (norm > eps ? norm : eps);", "return 1.0f / norm;"},
      {"the sums of dQ start with what is there",
       "      clear_row<T, C.vector_floats>(sums.first + row * sums.pitch);\n",
       "      static_cast<void>(row);\n"},
  };
}

}  // namespace fcsa::runner
