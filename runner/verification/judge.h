// Is what a kernel left in its outputs right? Of one problem and one set of inputs.
#pragma once

#include <memory>
#include <string>

#include "runner/verification/verification.h"

namespace fcsa::runner {

class Judge {
 public:
  virtual ~Judge() = default;
  // Every output has to be a number, and rows of it within their tolerance. `message` says which output,
  // where and by how much; without the problem.
  virtual CheckResult judge(const DeviceTensors& tensors) const = 0;
  virtual std::size_t host_bytes() const = 0;  // of what it keeps
};

// Compares o and lse, or the gradients, of rows that cost about `check.reference_flops` in the reference.
std::unique_ptr<Judge> make_judge(const HostInputs& inputs, const Check& check);

// Whether errors of rounding in a check's outputs are independent of each other, so that their mean is near
// 0.
bool errors_average_out(const Check& check);
std::string describe_mean(Output output, double mean, double allowed);

std::unique_ptr<Judge> make_forward_judge(const HostInputs& inputs, const Check& check);
std::unique_ptr<Judge> make_backward_judge(const HostInputs& inputs, const Check& check);

}  // namespace fcsa::runner
