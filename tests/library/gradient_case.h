// A backward problem of fcsa.h with tensors in host memory, and its gradients in double precision.
#pragma once

#include <string>
#include <vector>

#include "kernels/reference/gradients.h"
#include "runner/verification/inputs.h"
#include "tests/library/attention_case.h"

namespace fcsa::library {

fcsa_problem backward_problem(std::int32_t dtype, int heads, int rows, int head_dim);

// o and lse are those of the formula, rounded; dout is random, and gradients are filled with a pattern.
class GradientCase {
 public:
  // One gradient. A tensor that the problem doesn't want has no bytes.
  struct Gradient {
    const char* name;
    kernels::DType dtype;
    Shape shape;
    Memory memory;
  };

  explicit GradientCase(const fcsa_problem& problem, unsigned seed = 1);

  // All that the forward pass takes and gives.
  const AttentionCase& attention() const { return attention_; }
  const Memory& dout() const { return dout_; }
  const std::vector<Gradient>& gradients() const { return gradients_; }  // dq, dk, dv, dbias, dscale
  // Pointers to the tensors that the problem has; no workspace. Gradients that it omits have no bytes.
  fcsa_tensors tensors() const;
  // Puts addresses, in the order of gradients(), where they belong.
  static void set_gradients(fcsa_tensors& tensors, const std::vector<void*>& addresses);

  // Which row of which gradient is further off than fcsa verify allows; empty where none is.
  std::string mistake() const;
  // Whether nothing but rows of gradients was written.
  bool gaps_are_intact() const;

 private:
  kernels::BackwardArgs args() const;
  const Gradient& of(runner::Output output) const;

  AttentionCase attention_;
  Shape dout_shape_;
  Memory dout_;
  std::vector<Gradient> gradients_;
};

}  // namespace fcsa::library
