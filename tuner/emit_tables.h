// The generated parts of a tuned header: opening comment, traits, tuned shapes, classes.
#pragma once

#include <string>

#include "tuner/emit_plan.h"

namespace fcsa::tuner {

// How a reader compiles and calls the header, for the opening comment.
struct HeaderUse {
  std::string file;     // "fcsa_tuned_sm_90.cuh"
  std::string space;    // "fcsa_tuned::sm_90"
  std::string compile;  // "nvcc -std=c++20 -O2 ..."
  std::string call;     // lines that call forward()
  std::string remarks;  // paragraphs, or empty
};

std::string opening_comment(const DispatchTable& table, const EmitPlan& plan, const HeaderUse& use);

// Name of the constant that holds the traits: kF32D64Causal, kBf16D128MaskRunningMaximum, ...
std::string traits_constant(const kernels::Traits& traits);
std::string traits_constants(const EmitPlan& plan);

// "f32 head_dim 64, 128; bf16 head_dim 64", as the constant kServes.
std::string serves_constant(const EmitPlan& plan);

// The arrays of tuned shapes, candidates and classes, and kTable over them.
std::string tables_text(const EmitPlan& plan);

// Text for each kernel: `line(index, variant)`; those of classes that weren't tuned inside #ifndef
// FCSA_TUNED_ONLY.
template <typename Line>
std::string variant_lines(const EmitPlan& plan, const Line& line) {
  std::string text;
  for (std::size_t i = 0; i < plan.variants.size(); ++i) {
    if (i == plan.tuned_variants) text += "#ifndef FCSA_TUNED_ONLY\n";
    text += line(i, plan.variants[i]);
  }
  return plan.tuned_variants < plan.variants.size() ? text + "#endif\n" : text;
}

std::string configuration_text(const EmittedVariant& variant);
// fcsa::kernels::simt::ForwardConfig{...}
std::string configuration_literal(const EmittedVariant& variant);

// Whole headers.
std::string cuda_header_text(const DispatchTable& table);
std::string cpu_header_text(const DispatchTable& table);

}  // namespace fcsa::tuner
