#include "library/strides.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "library/failure.h"

namespace fcsa::library {
namespace {

using kernels::Strides;

struct Axis {
  const char* name;
  long long length;
  long long stride;
};

using Axes = std::array<Axis, 3>;

Axes axes_of(const StatedTensor& tensor) {
  const auto& [batch, heads, rows, elements] = tensor.lengths;
  const fcsa_strides& given = tensor.given;
  const Strides& dense = tensor.dense;
  const bool is_dense = given.batch == 0 && given.head == 0 && given.row == 0;
  const auto axis = [&](const char* name, int length, long long stated, long long if_dense) {
    return Axis{name, length, is_dense || length == 1 ? if_dense : stated};
  };
  return {axis("batch", batch, given.batch, dense.batch), axis("head", heads, given.head, dense.head),
          axis("row", rows, given.row, dense.row)};
}

Strides strides_of(const Axes& axes) {
  return {axes[0].stride, axes[1].stride, axes[2].stride};
}

[[noreturn]] void wrong(const StatedTensor& tensor, const Axis& axis, const std::string& why) {
  refuse(fmt::format("{}_strides.{} is {}: {}", tensor.name, axis.name, axis.stride, why));
}

void require_positive(const StatedTensor& tensor, const Axis& axis) {
  if (axis.stride > 0) return;
  wrong(tensor, axis,
        fmt::format("there are {} along that axis, so it must be positive (leave all three at 0 for a dense "
                    "tensor; heads that share keys are what kv_heads is for)",
                    axis.length));
}

void require_apart(const StatedTensor& tensor, Axes axes) {
  std::sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) { return a.stride < b.stride; });
  double extent =
      tensor.lengths.row_elements;  // may be beyond any integer, exact where a stride can reach it
  for (const Axis& axis : axes) {
    if (axis.length == 1) continue;
    if (static_cast<double>(axis.stride) < extent)
      wrong(tensor, axis,
            fmt::format("rows of {} would overlap, since {} elements lie in between", tensor.name, extent));
    extent += static_cast<double>(axis.stride) * static_cast<double>(axis.length - 1);
  }
}

}  // namespace

Strides input_strides(const StatedTensor& tensor, kernels::DType dtype) {
  const Axes axes = axes_of(tensor);
  const long long bytes = kernels::element_bytes(dtype);
  for (const Axis& axis : axes) {
    require_positive(tensor, axis);
    if (axis.stride >= kMostStride / bytes) wrong(tensor, axis, "it must be below 2^40 bytes");
    if (axis.stride * bytes % 16 != 0)
      wrong(tensor, axis,
            fmt::format("it must be a multiple of {} elements, which are 16 bytes", 16 / bytes));
  }
  return strides_of(axes);
}

Strides output_strides(const StatedTensor& tensor, kernels::DType dtype) {
  const Strides strides = input_strides(tensor, dtype);
  require_apart(tensor, axes_of(tensor));
  return strides;
}

Strides bias_strides(const StatedTensor& tensor) {
  const Axes axes = axes_of(tensor);
  for (const Axis& axis : axes)
    if (axis.stride < 0 || axis.stride >= kMostStride) wrong(tensor, axis, "it must be from 0 to 2^40 - 1");
  return strides_of(axes);
}

Strides bias_gradient_strides(const StatedTensor& tensor) {
  const Strides strides = bias_strides(tensor);
  const Axes axes = axes_of(tensor);
  for (const Axis& axis : axes) require_positive(tensor, axis);
  require_apart(tensor, axes);
  return strides;
}

}  // namespace fcsa::library
