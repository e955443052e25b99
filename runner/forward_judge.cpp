#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "runner/comparison.h"
#include "runner/judge.h"
#include "runner/output_shape.h"

namespace fcsa::runner {
namespace {

using kernels::Problem;
using kernels::RowIndex;

std::vector<int> first_visible_keys(const HostInputs& inputs) {
  const Problem& p = inputs.problem;
  std::vector<int> first(static_cast<std::size_t>(p.batch), 0);
  if (!p.key_mask) return first;
  for (std::size_t batch = 0; batch < first.size(); ++batch) {
    const auto row = inputs.key_mask.begin() + static_cast<std::ptrdiff_t>(batch) * p.nk;
    first[batch] = static_cast<int>(std::find(row, row + p.nk, 1) - row);
  }
  return first;
}

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
        first_visible_(first_visible_keys(inputs)) {}

  CheckResult judge(const DeviceTensors& tensors) const override {
    const std::vector<unsigned char> o = tensors.download(Output::o);
    const std::vector<float> lse = floats(tensors.download(Output::lse));
    CheckResult result{.tolerance = expected_.o_tolerance, .message = not_finite(o_, o)};
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

 private:
  bool sees_a_key(const RowIndex& row) const {
    const int first = first_visible_[static_cast<std::size_t>(row.batch)];
    return first < kernels::visibility_of(problem_).keys_of(row.row).end;
  }

  std::string bad_lse(const std::vector<float>& lse) const {
    for (std::size_t i = 0; i < lse.size(); ++i) {
      const bool sees = sees_a_key(lse_.row_of(i));
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
    const Worst off = worst_o(actual, reference), lse_off = worst_lse(actual, reference);
    result.error = off.error;
    if (!(off.error <= expected_.o_tolerance)) {
      result.message = fmt::format("o at {} is off by {:.3g} of its norm, {:.3g} allowed: {}",
                                   o_.describe(expected_.rows[off.row]), off.error, expected_.o_tolerance,
                                   worst_channel(actual, reference, off.row));
    } else if (!(lse_off.error <= expected_.lse_tolerance)) {
      result.error = lse_off.error;
      result.tolerance = expected_.lse_tolerance;
      result.message = fmt::format("lse at {} is {:.8g} instead of {:.8g}: off by {:.3g}, {:.3g} allowed",
                                   lse_.describe(expected_.rows[lse_off.row]), actual.lse[lse_off.row],
                                   reference.lse[lse_off.row], lse_off.error, expected_.lse_tolerance);
    }
    result.ok = result.message.empty();
  }

  Problem problem_;
  OutputShape o_, lse_;
  Expectation expected_;
  std::vector<int> first_visible_;  // per batch, the first key that the mask leaves visible
};

}  // namespace

std::unique_ptr<Judge> make_forward_judge(const HostInputs& inputs, const Check& check) {
  return std::make_unique<ForwardJudge>(inputs, check);
}

}  // namespace fcsa::runner
