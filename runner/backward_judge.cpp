#include <limits>

#include "runner/gradient_comparison.h"
#include "runner/judge.h"

namespace fcsa::runner {
namespace {

using kernels::Problem;

class BackwardJudge final : public Judge {
 public:
  BackwardJudge(const HostInputs& inputs, const Check& check)
      : problem_(inputs.problem),
        expected_(expect_gradients(problem_, inputs.args(),
                                   gradient_rows_to_check(problem_, check.reference_flops, check.seed))) {}

  CheckResult judge(const DeviceTensors& tensors) const override {
    CheckResult worst{.tolerance = expected_.front().tolerance};
    for (const Output output : tensors.outputs()) {
      const OutputShape shape = output_shape(problem_, output);
      const std::vector<unsigned char> data = tensors.download(output);
      worst.message = not_finite(shape, data);
      if (!worst.message.empty()) {
        worst.error = std::numeric_limits<double>::infinity();
        return worst;
      }
      for (const ExpectedGradient& expected : expected_)
        if (expected.output == output) compare(shape, data, expected, worst);
      if (!worst.message.empty()) return worst;
    }
    worst.ok = true;
    return worst;
  }

 private:
  // `worst` is kept up to date: of all outputs, the largest part of its tolerance.
  static void compare(const OutputShape& shape, const std::vector<unsigned char>& data,
                      const ExpectedGradient& expected, CheckResult& worst) {
    const std::vector<double> actual = gather_rows(shape, data, expected.rows);
    const Worst off = worst_gradient(actual, expected);
    if (!(off.error * worst.tolerance <= worst.error * expected.tolerance)) {
      worst.error = off.error;
      worst.tolerance = expected.tolerance;
    }
    if (!(off.error <= expected.tolerance)) worst.message = describe(shape, expected, actual, off);
  }

  Problem problem_;
  std::vector<ExpectedGradient> expected_;
};

}  // namespace

std::unique_ptr<Judge> make_backward_judge(const HostInputs& inputs, const Check& check) {
  return std::make_unique<BackwardJudge>(inputs, check);
}

std::unique_ptr<Judge> make_judge(const HostInputs& inputs, const Check& check) {
  return inputs.problem.op == kernels::Op::forward ? make_forward_judge(inputs, check)
                                                   : make_backward_judge(inputs, check);
}

}  // namespace fcsa::runner
