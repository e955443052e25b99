#include "kernels/cpu/backward.h"

#include "cpu_backward_instances.h"

namespace fcsa::kernels {
namespace {

using namespace cpu_cases;

constexpr Softmax kRunning = Softmax::running_maximum;

TEST(CpuBackward, IsRightInEveryStructure) {
  check_gradients<Traits{.head_dim = 64}, kOneTask>();
  check_gradients<Traits{.head_dim = 64}, kSplit>();
  check_gradients<Traits{.head_dim = 64}, kTwoWalks>();
}

TEST(CpuBackward, IsRightWhenCausal) {
  check_gradients<Traits{.head_dim = 16, .causal = true}, kOneTask>();
  check_gradients<Traits{.head_dim = 16, .causal = true}, kSplit>();
  check_gradients<Traits{.head_dim = 16, .causal = true}, kTwoWalks>();
}

TEST(CpuBackward, IsRightWithAKeyMask) {
  check_gradients<Traits{.head_dim = 32, .key_mask = true}, kOneTask>();
  check_gradients<Traits{.head_dim = 80, .causal = true, .key_mask = true}, kSplit>();
  check_gradients<Traits{.head_dim = 32, .key_mask = true}, kTwoWalks>();
}

TEST(CpuBackward, IsRightInBfloat16) {
  check_gradients<Traits{.dtype = DType::bf16, .head_dim = 96, .causal = true}, kOneTask>();
  check_gradients<Traits{.dtype = DType::bf16, .head_dim = 32}, kTwoWalks>();
}

TEST(CpuBackward, IsRightInFloat16) {
  check_gradients<Traits{.dtype = DType::f16, .head_dim = 64, .causal = true}, kOneTask>();
  check_gradients<Traits{.dtype = DType::f16, .head_dim = 48}, kSplit>();
}

TEST(CpuBackward, IsRightWithoutNormalisation) {
  check_gradients<Traits{.head_dim = 48, .causal = true, .l2norm_qk = false, .softmax = kRunning},
                  kOneTask>();
}

TEST(CpuBackward, IsRightForTheLargestHeadDimension) {
  check_gradients<Traits{.head_dim = 256}, kSplit>();
}

TEST(CpuBackward, IsRightWithABias) {
  check_gradients<Traits{.head_dim = 32, .bias = Bias::f32, .softmax = kRunning}, kOneTask>();
  check_gradients<Traits{.head_dim = 32, .causal = true, .bias = Bias::f32, .softmax = kRunning},
                  kTwoWalks>();
}

}  // namespace
}  // namespace fcsa::kernels
