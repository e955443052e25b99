#include "runner/verification/output_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <optional>

#include "kernels/reference/elements.h"
#include "kernels/reference/parallel_for.h"

namespace fcsa::runner {
namespace {

using kernels::DType;
using kernels::RowIndex;

constexpr std::size_t kElementsPerBlock = std::size_t{1} << 20;

// Index of the first element that is infinite or NaN.
template <typename Word>
std::optional<std::size_t> first_not_finite(const std::vector<unsigned char>& data, Word exponent) {
  const std::size_t count = data.size() / sizeof(Word);
  std::atomic<std::size_t> first{count};
  kernels::parallel_for((count + kElementsPerBlock - 1) / kElementsPerBlock, [&](std::size_t block) {
    const std::size_t begin = block * kElementsPerBlock, end = std::min(count, begin + kElementsPerBlock);
    const auto bad = [&](std::size_t i) {
      Word word = 0;
      std::memcpy(&word, data.data() + i * sizeof(Word), sizeof(Word));
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

}  // namespace

std::size_t OutputShape::first_element(const RowIndex& at) const {
  const auto batch = static_cast<std::size_t>(at.batch), head = static_cast<std::size_t>(at.head),
             row = static_cast<std::size_t>(at.row);
  const std::size_t place = layout == kernels::Layout::bhnd ? (batch * heads + head) * rows + row
                                                            : (batch * rows + row) * heads + head;
  return place * static_cast<std::size_t>(width);
}

RowIndex OutputShape::row_of(std::size_t element) const {
  const auto row = element / static_cast<std::size_t>(width);
  const auto h = static_cast<std::size_t>(heads), n = static_cast<std::size_t>(rows);
  const bool rows_inside = layout == kernels::Layout::bhnd;
  return {static_cast<int>(row / (h * n)), static_cast<int>(rows_inside ? row / n % h : row % h),
          static_cast<int>(rows_inside ? row % n : row / h % n)};
}

std::string OutputShape::describe(const RowIndex& row) const {
  if (output == Output::dscale) return fmt::format("head {}", row.head);
  return fmt::format("batch {} head {} row {}", row.batch, row.head, row.row);
}

std::string OutputShape::describe(std::size_t element) const {
  const std::string row = describe(row_of(element));
  return width == 1 ? row : fmt::format("{} {}", row, column(element % static_cast<std::size_t>(width)));
}

std::string OutputShape::column(std::size_t index) const {
  return fmt::format("{} {}", output == Output::dbias ? "key" : "channel", index);
}

OutputShape output_shape(const kernels::Problem& p, Output output) {
  const kernels::BackwardArgs shape = kernels::shape_args(p);
  switch (output) {
    case Output::o:
    case Output::dq:
      return {output, p.dtype, p.layout, p.heads, p.nq, p.head_dim};
    case Output::dk:
    case Output::dv:
      return {output, p.dtype, p.layout, p.kv_heads, p.nk, p.head_dim};
    case Output::dbias:
      return {.output = output,
              .dtype = p.bias == kernels::Bias::f32 ? DType::f32 : p.dtype,
              .heads = shape.bias_heads,
              .rows = p.nq,
              .width = p.nk};
    case Output::dscale:
      return {.output = output, .heads = p.heads};
    case Output::lse:
      break;
  }
  return {.output = Output::lse, .heads = p.heads, .rows = p.nq};
}

std::string not_finite(const OutputShape& shape, const std::vector<unsigned char>& data) {
  const auto found = shape.dtype == DType::f32    ? first_not_finite<std::uint32_t>(data, 0x7f800000u)
                     : shape.dtype == DType::bf16 ? first_not_finite<std::uint16_t>(data, 0x7f80u)
                                                  : first_not_finite<std::uint16_t>(data, 0x7c00u);
  if (!found) return {};
  const auto bytes = static_cast<std::size_t>(kernels::element_bytes(shape.dtype));
  const auto first = data.begin() + static_cast<std::ptrdiff_t>(*found * bytes);
  const bool poison =
      std::all_of(first, first + static_cast<std::ptrdiff_t>(bytes), [](auto b) { return b == 0xff; });
  const float value = kernels::load_element(shape.dtype, data.data(), static_cast<long long>(*found));
  return fmt::format("{} {} at {}", to_text(shape.output),
                     poison ? "was not written" : fmt::format("is {}", value), shape.describe(*found));
}

std::vector<double> gather_rows(const OutputShape& shape, const std::vector<unsigned char>& data,
                                const std::vector<RowIndex>& rows) {
  std::vector<double> values;
  std::vector<float> loaded(static_cast<std::size_t>(shape.width));
  values.reserve(rows.size() * loaded.size());
  for (const RowIndex& row : rows) {
    kernels::load_elements(shape.dtype, data.data(), static_cast<long long>(shape.first_element(row)),
                           shape.width, loaded.data());
    values.insert(values.end(), loaded.begin(), loaded.end());
  }
  return values;
}

}  // namespace fcsa::runner
