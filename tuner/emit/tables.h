// The generated parts of a tuned header: traits, tuned shapes, classes, compiled configurations.
#pragma once

#include <string>
#include <vector>

#include "tuner/emit/emit.h"

namespace fcsa::tuner {

// Name of the constant that holds the traits: kF32D64Causal, kBf16D128MaskRunningMaximum, ...
std::string traits_constant(const kernels::Traits& traits);
std::string traits_constants(const std::vector<EmittedClass>& classes);

// "f32 head_dim 64, 128; bf16 head_dim 64", of each operation, as the constant kServes.
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

// A source text that kernels of a plan are from.
struct EmittedSource {
  const kernels::Family* family = nullptr;
  kernels::Op op = kernels::Op::forward;
  std::string path() const;         // "kernels/simt/backward.cuh"
  std::string config_path() const;  // "kernels/simt/backward_config.h"
  bool operator==(const EmittedSource&) const = default;
};
std::vector<EmittedSource> sources_of(const EmitPlan& plan);

// A line that names the source of the trials; empty for what wasn't tuned.
std::string measured_comment(const Emission& emission, const EmittedVariant& variant);
std::string configuration_text(const EmittedVariant& variant);
// fcsa::kernels::simt::ForwardConfig{...}
std::string configuration_literal(const EmittedVariant& variant);

// Whole headers.
std::string cuda_header_text(const Emission& emission);
std::string cpu_header_text(const Emission& emission);

}  // namespace fcsa::tuner
