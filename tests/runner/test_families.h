// Families made of plain C++ text, right and wrong in the ways that a tuner has to survive.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "kernels/family.h"
#include "tuner/trials/trial.h"

namespace fcsa::runner {

inline constexpr int kTestTileRows = 16;

// A correct kernel for l2-normalised f32 without mask or causality, one row of the output a task, with two
// holes. The names of its variables may be used in `prologue` (run before each task) and in `keys` (how many
// are visible). It computes in `real`: double, or float where time matters.
inline std::string kernel_text(const std::string& prologue = "", const std::string& keys = "a.nk",
                               const std::string& real = "double") {
  return kernels::flattened_source("kernels/common/interface.h") + R"(
#include <cmath>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
using Real = )" +
         real + R"(;
static const float* row_of(const void* base, const fcsa::kernels::Strides& s, long long b, long long h, long long i) {
  return static_cast<const float*>(base) + b * s.batch + h * s.head + i * s.row;
}
static Real inverse_norm(const float* x, int n, float eps) {
  double sum = 0;
  for (int c = 0; c < n; ++c) sum += double(x[c]) * x[c];
  const double norm = std::sqrt(sum);
  return Real(std::fmin(1 / (norm > eps ? norm : eps), 3e38));  // eps may be 0 or denormal
}
extern "C" void fcsa_kernel_0(const fcsa::kernels::Args* args, long long task, void*) {
  const auto& a = *args;
  constexpr int kDim = 16, kTile = 16;
  const long long i = task % a.nq, h = task / a.nq % a.heads, b = task / a.nq / a.heads;
  float* o = static_cast<float*>(a.o) + b * a.o_strides.batch + h * a.o_strides.head + i * a.o_strides.row;
  float* lse = a.lse + (b * a.heads + h) * a.nq + i;
  (void)kTile;
)" + prologue +
         R"(
  const long long g = h / (a.heads / a.kv_heads);
  const float* q = row_of(a.q, a.q_strides, b, h, i);
  const Real q_inverse = inverse_norm(q, kDim, a.eps);
  Real sum = 0;
  Real out[kDim] = {};
  for (int j = 0; j < )" +
         keys + R"(; ++j) {
    const float* k = row_of(a.k, a.k_strides, b, g, j);
    const Real k_inverse = inverse_norm(k, kDim, a.eps);
    Real dot = 0;  // of unit vectors: the product of large rows leaves the range of float
    for (int c = 0; c < kDim; ++c) dot += Real(q[c]) * q_inverse * (Real(k[c]) * k_inverse);
    const Real p = std::exp(a.scale * dot - a.scale);
    sum += p;
    for (int c = 0; c < kDim; ++c) out[c] += p * row_of(a.v, a.v_strides, b, g, j)[c];
  }
  for (int c = 0; c < kDim; ++c) o[c] = float(out[c] / sum);
  *lse = float(std::log(sum) + a.scale);
}
)";
}

class TextFamily : public kernels::Family {
 public:
  explicit TextFamily(std::string text) : text_(std::move(text)) {}

  std::string name() const override { return "text"; }
  kernels::DeviceKind device_kind() const override { return kernels::DeviceKind::cpu; }
  std::string unsupported(const kernels::Problem& problem, const kernels::Target&) const override {
    return problem.head_dim == 16 ? "" : "only head dimension 16";
  }
  // Part of the text, so that configurations differ in their source.
  std::vector<kernels::Parameter> parameters(kernels::Op) const override {
    return {{"number", {0, 1, 2, 3}, 0, ""}};
  }
  std::vector<kernels::Constraint> constraints(kernels::Op) const override {
    return {{"number too large", [](const kernels::Problem&, const kernels::Configuration& configuration,
                                    const kernels::Target&) { return configuration.at("number") < 3; }}};
  }
  kernels::Configuration baseline(const kernels::Problem&, const kernels::Target&) const override {
    return {"text.forward", {{"number", 0}}};
  }
  kernels::KernelTemplate kernel_template(kernels::Op) const override { return {}; }
  kernels::LaunchPlan plan(const kernels::Traits&, const kernels::Configuration&,
                           const kernels::BackwardArgs& args) const override {
    kernels::LaunchPlan plan;
    plan.count = 1;
    plan.steps[0].grid_x = static_cast<unsigned>(args.batch * args.heads * args.nq);
    return plan;
  }
  kernels::Tile tile(const kernels::Configuration&) const override {
    return {.rows = kTestTileRows, .keys = kTestTileRows};
  }
  kernels::KernelSource source(const kernels::Problem&,
                               const kernels::Configuration& configuration) const override {
    return {kernels::DeviceKind::cpu,
            text_ + "static const int number = " + std::to_string(configuration.at("number")) +
                ";\nextern \"C\" int fcsa_number() { return number; }\n",
            {"fcsa_kernel_0"}};
  }

 private:
  std::string text_;
};

// Small, and of a shape that no small check has.
inline kernels::Problem test_problem() {
  kernels::Problem problem;
  problem.head_dim = 16;
  problem.heads = problem.kv_heads = 2;
  problem.nq = 35;
  problem.nk = 41;
  return problem;
}

inline tuner::Candidate candidate_of(const kernels::Family& family, int number = 0) {
  return {test_problem(), &family, {"text.forward", {{"number", number}}}};
}

}  // namespace fcsa::runner
