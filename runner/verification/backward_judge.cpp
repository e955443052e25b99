#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "runner/verification/gradient_comparison.h"
#include "runner/verification/judge.h"

namespace fcsa::runner {
namespace {

using kernels::Problem;

class BackwardJudge final : public Judge {
 public:
  BackwardJudge(const HostInputs& inputs, const Check& check)
      : problem_(inputs.problem),
        expected_(expect_gradients(problem_, inputs.args(),
                                   gradient_rows_to_check(problem_, check.reference_flops, check.seed))),
        bounds_mean_(errors_average_out(check)) {}

  CheckResult judge(const DeviceTensors& tensors) const override {
    CheckResult worst{.tolerance = 1};
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

  std::size_t host_bytes() const override {
    std::size_t total = 0;
    for (const ExpectedGradient& e : expected_)
      total +=
          (e.values.size() + e.sizes.size() + e.norms.size() + e.exponents.size() + e.tolerance.rows.size()) *
              sizeof(double) +
          e.rows.size() * sizeof(kernels::RowIndex);
    return total;
  }

 private:
  // `worst` is kept up to date: of all outputs, the largest part of its tolerance.
  void compare(const OutputShape& shape, const std::vector<unsigned char>& data,
               const ExpectedGradient& expected, CheckResult& worst) const {
    const std::vector<double> actual = gather_rows(shape, data, expected.rows);
    const Worst off = worst_gradient(actual, expected);
    if (!(off.error * worst.tolerance <= worst.error * off.tolerance)) {
      worst.error = off.error;
      worst.tolerance = off.tolerance;
    }
    if (!off.ok()) {
      worst.message = describe(shape, expected, actual, off);
      return;
    }
    const double mean = mean_gradient_error(actual, expected), allowed = expected.tolerance.mean;
    if (!bounds_mean_ || allowed == 0 || std::fabs(mean) <= allowed) return;
    worst.error = std::fabs(mean);
    worst.tolerance = allowed;
    worst.message = describe_mean(expected.output, mean, allowed);
  }

  Problem problem_;
  std::vector<ExpectedGradient> expected_;
  bool bounds_mean_;
};

}  // namespace

bool errors_average_out(const Check& check) {
  const Problem& p = check.problem;
  constexpr int kFewKeys = 32;
  constexpr double kLeastSpread = 0.1;  // of logits, below which all P of a row are rounded alike
  const double spread = std::fabs(p.scale) * p.groups / std::sqrt(p.head_dim);
  return check.values == Values::normal && p.nk >= kFewKeys && spread >= kLeastSpread;
}

std::string describe_mean(Output output, double mean, double allowed) {
  return fmt::format("{} is too {} by {:.3g} on average, {:.3g} allowed: cut off instead of rounded?",
                     to_text(output), mean < 0 ? "small" : "large", std::fabs(mean), allowed);
}

std::unique_ptr<Judge> make_backward_judge(const HostInputs& inputs, const Check& check) {
  return std::make_unique<BackwardJudge>(inputs, check);
}

std::unique_ptr<Judge> make_judge(const HostInputs& inputs, const Check& check) {
  return inputs.problem.op == kernels::Op::forward ? make_forward_judge(inputs, check)
                                                   : make_backward_judge(inputs, check);
}

}  // namespace fcsa::runner
