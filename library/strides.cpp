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

bool is_dense(const StatedTensor& tensor) {
  const fcsa_strides& given = tensor.given;
  return given.batch == 0 && given.head == 0 && given.row == 0;
}

Axes axes_of(const StatedTensor& tensor) {
  const auto& [batch, heads, rows, elements] = tensor.lengths;
  const fcsa_strides& given = tensor.given;
  const Strides& dense = tensor.dense;
  const auto axis = [&](const char* name, int length, long long stated, long long if_dense) {
    return Axis{name, length, is_dense(tensor) || length == 1 ? if_dense : stated};
  };
  return {axis("batch", batch, given.batch, dense.batch), axis("head", heads, given.head, dense.head),
          axis("row", rows, given.row, dense.row)};
}

Strides strides_of(const Axes& axes) {
  return {axes[0].stride, axes[1].stride, axes[2].stride};
}

bool has_elements(const StatedTensor& tensor) {
  const auto& [batch, heads, rows, elements] = tensor.lengths;
  return batch > 0 && heads > 0 && rows > 0 && elements > 0;
}

// Of a dense tensor too: where the stride is nobody's but that of its sizes.
[[noreturn]] void too_large(const StatedTensor& tensor) {
  const auto& [batch, heads, rows, elements] = tensor.lengths;
  refuse(fmt::format("{} is too large: a batch of {} heads x {} rows x {} channels must be below 2^40 bytes",
                     tensor.name, heads, rows, elements));
}

[[noreturn]] void wrong(const StatedTensor& tensor, const Axis& axis, const std::string& why) {
  refuse(fmt::format("{}_strides.{} is {}: {}", tensor.name, axis.name, axis.stride, why));
}

void require_positive(const StatedTensor& tensor, const Axis& axis) {
  if (axis.stride > 0) return;
  wrong(
      tensor, axis,
      fmt::format("there are {} along that axis, so it must be positive (leave all three at 0 for a dense "
                  "tensor; heads that share keys are what kv_heads is for; what is read may be shared by all "
                  "batches, what is written not)",
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

enum class Batches { may_be_shared, lie_apart };

Strides row_strides(const StatedTensor& tensor, kernels::DType dtype, Batches batches) {
  if (!has_elements(tensor)) return tensor.dense;
  const Axes axes = axes_of(tensor);
  const long long bytes = kernels::element_bytes(dtype);
  for (const Axis& axis : axes) {
    const bool shared = &axis == axes.data() && axis.stride == 0 && batches == Batches::may_be_shared;
    if (!shared) require_positive(tensor, axis);
    if (axis.stride >= kMostStride / bytes) {
      if (is_dense(tensor)) too_large(tensor);
      wrong(tensor, axis, "it must be below 2^40 bytes");
    }
    if (axis.stride * bytes % 16 != 0)
      wrong(tensor, axis,
            fmt::format("it must be a multiple of {} elements, which are 16 bytes", 16 / bytes));
  }
  return strides_of(axes);
}

}  // namespace

Strides input_strides(const StatedTensor& tensor, kernels::DType dtype) {
  return row_strides(tensor, dtype, Batches::may_be_shared);
}

Strides output_strides(const StatedTensor& tensor, kernels::DType dtype) {
  const Strides strides = row_strides(tensor, dtype, Batches::lie_apart);
  if (has_elements(tensor)) require_apart(tensor, axes_of(tensor));
  return strides;
}

Strides bias_strides(const StatedTensor& tensor) {
  if (!has_elements(tensor)) return tensor.dense;
  const Axes axes = axes_of(tensor);
  for (const Axis& axis : axes)
    if (axis.stride < 0 || axis.stride >= kMostStride) wrong(tensor, axis, "it must be from 0 to 2^40 - 1");
  return strides_of(axes);
}

Strides bias_gradient_strides(const StatedTensor& tensor) {
  const Strides strides = bias_strides(tensor);
  if (!has_elements(tensor)) return strides;
  const Axes axes = axes_of(tensor);
  for (const Axis& axis : axes) require_positive(tensor, axis);
  require_apart(tensor, axes);
  return strides;
}

}  // namespace fcsa::library
