#include "runner/verification.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <list>
#include <optional>

#include "kernels/reference/parallel_for.h"
#include "runner/comparison.h"

namespace fcsa::runner {
namespace {

using kernels::DType;
using kernels::Problem;
using kernels::RowIndex;

// A case with more input than this is large: only one of those is kept.
constexpr std::size_t kLargeBytes = std::size_t{8} << 20;
constexpr std::size_t kSmallCases = 256;
constexpr std::size_t kElementsPerBlock = std::size_t{1} << 20;

std::string describe(const Check& check) {
  return fmt::format("{} ({} values, seed {})", kernels::to_text(check.problem), to_text(check.values),
                     check.seed);
}

std::string describe(const RowIndex& row) {
  return fmt::format("batch {} head {} row {}", row.batch, row.head, row.row);
}

// Index of the first element that is infinite or NaN.
template <typename Word>
std::optional<std::size_t> first_not_finite(const unsigned char* data, std::size_t count, Word exponent) {
  std::atomic<std::size_t> first{count};
  kernels::parallel_for((count + kElementsPerBlock - 1) / kElementsPerBlock, [&](std::size_t block) {
    const std::size_t begin = block * kElementsPerBlock, end = std::min(count, begin + kElementsPerBlock);
    const auto bad = [&](std::size_t i) {
      Word word = 0;
      std::memcpy(&word, data + i * sizeof(Word), sizeof(Word));
      return (word & exponent) == exponent;
    };
    bool any = false;
    for (std::size_t i = begin; i < end; ++i) any |= bad(i);
    for (std::size_t i = begin; any && i < end; ++i) {
      if (!bad(i)) continue;
      std::size_t known = first;
      while (i < known && !first.compare_exchange_weak(known, i)) {
      }
      break;
    }
  });
  if (first == count) return std::nullopt;
  return first;
}

// What one problem costs to check once: inputs on the device, expected rows.
struct Case {
  std::string key;
  Problem problem;
  DeviceTensors tensors;
  Expectation expected;
  std::vector<int> first_visible;  // per batch, the first key that the mask leaves visible

  bool sees_a_key(const RowIndex& row) const {
    const int first = first_visible[static_cast<std::size_t>(row.batch)];
    return !problem.causal || first <= static_cast<long long>(row.row) + problem.nk - problem.nq;
  }
};

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

// Place of an element of o, dense in the problem's layout.
std::string place_in_o(const Problem& p, std::size_t element) {
  const auto channel = element % static_cast<std::size_t>(p.head_dim);
  const auto row = element / static_cast<std::size_t>(p.head_dim);
  const auto heads = static_cast<std::size_t>(p.heads), nq = static_cast<std::size_t>(p.nq);
  const bool rows_inside = p.layout == kernels::Layout::bhnd;
  const RowIndex index{static_cast<int>(row / (heads * nq)),
                       static_cast<int>(rows_inside ? row / nq % heads : row % heads),
                       static_cast<int>(rows_inside ? row % nq : row / heads % nq)};
  return fmt::format("{} channel {}", describe(index), channel);
}

// What is wrong with values as such; empty when every output is a number.
std::string bad_o(const Problem& p, const std::vector<unsigned char>& o) {
  const auto width = static_cast<std::size_t>(kernels::element_bytes(p.dtype));
  const std::size_t count = o.size() / width;
  const auto found = p.dtype == DType::f32    ? first_not_finite<std::uint32_t>(o.data(), count, 0x7f800000u)
                     : p.dtype == DType::bf16 ? first_not_finite<std::uint16_t>(o.data(), count, 0x7f80u)
                                              : first_not_finite<std::uint16_t>(o.data(), count, 0x7c00u);
  if (!found) return {};
  const auto first = o.begin() + static_cast<std::ptrdiff_t>(*found * width);
  const bool poison =
      std::all_of(first, first + static_cast<std::ptrdiff_t>(width), [](auto b) { return b == 0xff; });
  const float value = kernels::load_element(p.dtype, o.data(), static_cast<long long>(*found));
  return fmt::format("o {} at {}", poison ? "was not written" : fmt::format("is {}", value),
                     place_in_o(p, *found));
}

std::string bad_lse(const Case& c, const std::vector<float>& lse) {
  const Problem& p = c.problem;
  for (RowIndex row; row.batch < p.batch; ++row.batch)
    for (row.head = 0; row.head < p.heads; ++row.head)
      for (row.row = 0; row.row < p.nq; ++row.row) {
        const float value = lse[lse_index(p, row)];
        const bool sees = c.sees_a_key(row);
        if (sees ? std::isfinite(value) : std::isinf(value) && value < 0) continue;
        std::uint32_t bits = 0;
        std::memcpy(&bits, &value, sizeof bits);
        return fmt::format("lse {} at {}, which {}",
                           bits == 0xffffffffu ? "was not written" : fmt::format("is {}", value),
                           describe(row), sees ? "sees keys" : "sees no key: -inf expected");
      }
  return {};
}

kernels::RowResults gather(const Case& c, const std::vector<unsigned char>& o,
                           const std::vector<float>& lse) {
  const Problem& p = c.problem;
  const kernels::Strides strides = kernels::shape_args(p).o_strides;
  kernels::RowResults rows;
  rows.o.reserve(c.expected.reference.o.size());
  for (const RowIndex& row : c.expected.rows) {
    const long long first = row.batch * strides.batch + row.head * strides.head + row.row * strides.row;
    for (int d = 0; d < p.head_dim; ++d)
      rows.o.push_back(kernels::load_element(p.dtype, o.data(), first + d));
    rows.lse.push_back(lse[lse_index(p, row)]);
  }
  return rows;
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

CheckResult compare(const Case& c, const std::vector<unsigned char>& o, const std::vector<float>& lse) {
  CheckResult result;
  result.tolerance = c.expected.o_tolerance;
  result.message = bad_o(c.problem, o);
  if (result.message.empty()) result.message = bad_lse(c, lse);
  if (!result.message.empty()) {
    result.error = std::numeric_limits<double>::infinity();
    return result;
  }
  const kernels::RowResults actual = gather(c, o, lse);
  const Worst off = worst_o(actual, c.expected.reference), lse_off = worst_lse(actual, c.expected.reference);
  result.error = off.error;
  if (!(off.error <= c.expected.o_tolerance)) {
    result.message = fmt::format("o at {} is off by {:.3g} of its norm, {:.3g} allowed: {}",
                                 describe(c.expected.rows[off.row]), off.error, c.expected.o_tolerance,
                                 worst_channel(actual, c.expected.reference, off.row));
  } else if (!(lse_off.error <= c.expected.lse_tolerance)) {
    result.error = lse_off.error;
    result.tolerance = c.expected.lse_tolerance;
    result.message =
        fmt::format("lse at {} is {:.8g} instead of {:.8g}: off by {:.3g}, {:.3g} allowed",
                    describe(c.expected.rows[lse_off.row]), actual.lse[lse_off.row],
                    c.expected.reference.lse[lse_off.row], lse_off.error, c.expected.lse_tolerance);
  }
  result.ok = result.message.empty();
  return result;
}

}  // namespace

struct Verifier::Impl {
  Device& device;
  std::list<Case> cases;  // the latest used in front

  explicit Impl(Device& on) : device(on) {}

  Case& find(const Check& check) {
    const std::string key = describe(check);
    const auto known = std::find_if(cases.begin(), cases.end(), [&](const Case& c) { return c.key == key; });
    if (known != cases.end()) {
      cases.splice(cases.begin(), cases, known);
      return cases.front();
    }
    HostInputs inputs = make_inputs(check.problem, check.values, check.seed);
    make_room(inputs);
    auto rows = rows_to_check(check.problem, check.reference_flops, check.seed);
    Expectation expected = expect_rows(inputs, std::move(rows));
    cases.push_front({.key = key,
                      .problem = check.problem,
                      .tensors = DeviceTensors(device, inputs),
                      .expected = std::move(expected),
                      .first_visible = first_visible_keys(inputs)});
    return cases.front();
  }

  void make_room(const HostInputs& inputs) {
    if (inputs.q.size() + inputs.k.size() + inputs.v.size() > kLargeBytes)
      std::erase_if(cases, [](const Case& c) { return c.tensors.bytes() > kLargeBytes; });
    while (cases.size() > kSmallCases) cases.pop_back();
  }
};

Verifier::Verifier(Device& device) : impl_(std::make_unique<Impl>(device)) {}
Verifier::~Verifier() = default;

CheckResult Verifier::run(const Module& module, const Check& check) {
  Case& c = impl_->find(check);
  const kernels::BackwardArgs args = c.tensors.args(static_cast<std::size_t>(check.plan.workspace_bytes));
  c.tensors.poison_outputs();
  impl_->device.launch(module, check.plan, args);
  impl_->device.synchronize();
  CheckResult result = compare(c, c.tensors.download_o(), c.tensors.download_lse());
  const std::string damaged = c.tensors.damaged_guard();
  if (!damaged.empty()) {
    result = {.error = std::numeric_limits<double>::infinity(),
              .tolerance = c.expected.o_tolerance,
              .message = fmt::format("wrote outside of {}", damaged)};
    impl_->cases.clear();  // other tensors may have been written to as well
  }
  if (!result.ok) result.message += fmt::format(", in {}", describe(check));
  return result;
}

DeviceTensors& Verifier::tensors(const Check& check) {
  return impl_->find(check).tensors;
}

}  // namespace fcsa::runner
