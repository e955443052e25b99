#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "runner/verification/comparison.h"
#include "runner/verification/judge.h"
#include "runner/verification/output_shape.h"

namespace fcsa::runner {
namespace {

using kernels::Problem;
using kernels::RowIndex;

std::vector<float> floats(const std::vector<unsigned char>& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// The channel of a row that is furthest off, for the message.
std::string worst_channel(const kernels::RowResults& actual, const kernels::RowResults& expected,
                          std::size_t row) {
  const std::size_t dim = expected.o.size() / expected.lse.size();
  std::size_t worst = row * dim;
  for (std::size_t i = row * dim; i < (row + 1) * dim; ++i)
    if (std::fabs(actual.o[i] - expected.o[i]) > std::fabs(actual.o[worst] - expected.o[worst])) worst = i;
  return fmt::format("channel {} is {:.6g} instead of {:.6g}", worst - row * dim, actual.o[worst],
                     expected.o[worst]);
}

class ForwardJudge final : public Judge {
 public:
  ForwardJudge(const HostInputs& inputs, const Check& check)
      : problem_(inputs.problem),
        o_(output_shape(problem_, Output::o)),
        lse_(output_shape(problem_, Output::lse)),
        expected_(expect_rows(inputs, rows_to_check(problem_, check.reference_flops, check.seed))),
        sees_(seeing_rows(inputs)),
        bounds_mean_(errors_average_out(check)) {}

  CheckResult judge(const DeviceTensors& tensors) const override {
    const std::vector<unsigned char> o = tensors.download(Output::o);
    const std::vector<float> lse = floats(tensors.download(Output::lse));
    CheckResult result{.tolerance = 1, .message = not_finite(o_, o)};
    if (result.message.empty()) result.message = bad_lse(lse);
    if (!result.message.empty()) {
      result.error = std::numeric_limits<double>::infinity();
      return result;
    }
    kernels::RowResults actual{gather_rows(o_, o, expected_.rows), {}};
    for (const RowIndex& row : expected_.rows) actual.lse.push_back(lse[lse_.first_element(row)]);
    compare(actual, result);
    return result;
  }

  std::size_t host_bytes() const override {
    constexpr std::size_t kNumbersOfRow = 8;  // of the reference and the tolerances, beside o
    return (expected_.reference.o.size() + kNumbersOfRow * expected_.rows.size()) * sizeof(double) +
           expected_.rows.size() * sizeof(RowIndex) + sees_.size() / 8;
  }

 private:
  std::string bad_lse(const std::vector<float>& lse) const {
    for (std::size_t i = 0; i < lse.size(); ++i) {
      const bool sees = sees_[i];
      if (sees ? std::isfinite(lse[i]) : std::isinf(lse[i]) && lse[i] < 0) continue;
      std::uint32_t bits = 0;
      std::memcpy(&bits, &lse[i], sizeof bits);
      return fmt::format("lse {} at {}, which {}",
                         bits == 0xffffffffu ? "was not written" : fmt::format("is {}", lse[i]),
                         lse_.describe(i), sees ? "sees keys" : "sees no key: -inf expected");
    }
    return {};
  }

  void compare(const kernels::RowResults& actual, CheckResult& result) const {
    const kernels::RowResults& reference = expected_.reference;
    const Worst off = worst_o(actual, reference, expected_.o.rows),
                lse_off = worst_lse(actual, reference, expected_.lse.rows);
    const double mean = mean_error(actual.o, reference.o);
    result.error = off.error;
    result.tolerance = off.tolerance;
    if (!off.ok()) {
      result.message = fmt::format("o at {} is off by {:.3g} of its norm, {:.3g} allowed: {}",
                                   o_.describe(expected_.rows[off.row]), off.error, off.tolerance,
                                   worst_channel(actual, reference, off.row));
    } else if (!lse_off.ok()) {
      result.error = lse_off.error;
      result.tolerance = lse_off.tolerance;
      result.message = fmt::format("lse at {} is {:.8g} instead of {:.8g}: off by {:.3g}, {:.3g} allowed",
                                   lse_.describe(expected_.rows[lse_off.row]), actual.lse[lse_off.row],
                                   reference.lse[lse_off.row], lse_off.error, lse_off.tolerance);
    } else if (bounds_mean_ && expected_.o.mean > 0 && !(std::fabs(mean) <= expected_.o.mean)) {
      result.error = std::fabs(mean);
      result.tolerance = expected_.o.mean;
      result.message = describe_mean(Output::o, mean, expected_.o.mean);
    }
    result.ok = result.message.empty();
  }

  Problem problem_;
  OutputShape o_, lse_;
  Expectation expected_;
  std::vector<bool> sees_;  // of every row, whether it sees a key
  bool bounds_mean_;
};

}  // namespace

std::unique_ptr<Judge> make_forward_judge(const HostInputs& inputs, const Check& check) {
  return std::make_unique<ForwardJudge>(inputs, check);
}

}  // namespace fcsa::runner
