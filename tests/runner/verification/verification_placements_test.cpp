// Kernels that read or write by wrong addresses.
#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include "tests/runner/verification/reference_kernel.h"

namespace fcsa::runner {
namespace {

using kernels::Args;
using kernels::DType;
using kernels::LaunchPlan;
using kernels::Problem;

// A right kernel but for what `change` does to the arguments that it reads by.
CheckResult verdict_on(const Problem& problem, const std::function<void(Args&)>& change,
                       Placement placement = Placement::padded, Values values = Values::normal) {
  FakeDevice device;
  device.bytes_behind_buffers = std::size_t{1} << 20;
  device.kernel = [&](const LaunchPlan&, const Args& args) {
    Args read = args;
    change(read);
    kernels::RowResults results = kernels::reference_rows(kernels::traits_of(problem), read, all_rows(args));
    Args write = args;
    write.o_strides = read.o_strides;
    store_rows(kernels::traits_of(problem), write, all_rows(args), results);
  };
  return Verifier(device).run(Module{},
                              {.problem = problem, .values = values, .placement = placement, .seed = 11});
}

TEST(Verifier, AcceptsTheRightAnswerInEveryPlacement) {
  for (const Placement placement : kAllPlacements)
    for (const DType dtype : {DType::f32, DType::f16}) {
      Problem p = base_problem();
      p.dtype = dtype;
      p.key_mask = true;
      p.bias = kernels::Bias::same;
      const CheckResult result = verdict_on(
          p, [](Args&) {}, placement);
      EXPECT_TRUE(result.ok) << result.message;
    }
}

TEST(Verifier, RejectsTheStridesOfAnotherTensor) {
  Problem p = base_problem();
  p.heads = p.kv_heads = 2;
  p.nq = p.nk = 40;
  p.key_mask = true;
  p.bias = kernels::Bias::f32;
  const std::pair<const char*, std::function<void(Args&)>> wrong[] = {
      {"q", [](Args& a) { a.q_strides = a.k_strides; }},
      {"k", [](Args& a) { a.k_strides = a.v_strides; }},
      {"v", [](Args& a) { a.v_strides = a.k_strides; }},
      {"o", [](Args& a) { a.o_strides = a.q_strides; }},
      {"bias", [&](Args& a) { a.bias_strides.row = p.nk; }},
      {"mask", [&](Args& a) { a.key_mask_stride = p.nk; }},
  };
  for (const auto& [name, change] : wrong) {
    EXPECT_FALSE(verdict_on(p, change).ok) << name;
    EXPECT_FALSE(verdict_on(p, change, Placement::mixed).ok) << name;
  }
}

TEST(Verifier, RejectsAnotherEps) {
  EXPECT_TRUE(verdict_on(
                  base_problem(), [](Args&) {}, Placement::dense, Values::clamped_rows)
                  .ok);
  EXPECT_FALSE(verdict_on(
                   base_problem(), [](Args& a) { a.eps = 1e-12f; }, Placement::dense, Values::clamped_rows)
                   .ok);
}

TEST(Verifier, RejectsAWriteBetweenRows) {
  const Problem p = base_problem();
  FakeDevice device;
  device.kernel = [&](const LaunchPlan&, const Args& args) {
    attend(kernels::traits_of(p), args, args);
    static_cast<float*>(args.o)[p.head_dim] = 0;
  };
  const CheckResult result =
      Verifier(device).run(Module{}, {.problem = p, .placement = Placement::padded, .seed = 11});
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("wrote outside of o"), std::string::npos) << result.message;
  EXPECT_NE(result.message.find("padded tensors"), std::string::npos) << result.message;
}

TEST(Verifier, RejectsAWriteToAnInput) {
  const Problem p = base_problem();
  const CheckResult result = verdict(p, [&](const LaunchPlan&, const Args& args) {
    attend(kernels::traits_of(p), args, args);
    const_cast<float*>(static_cast<const float*>(args.q))[5] = 0;
  });
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("wrote outside of q"), std::string::npos) << result.message;
}

}  // namespace
}  // namespace fcsa::runner
