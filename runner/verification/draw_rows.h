// Tensors of random rows, drawn on all cores.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "kernels/reference/elements.h"
#include "kernels/reference/parallel_for.h"
#include "runner/verification/random_bits.h"

namespace fcsa::runner {

// A tensor of rows of `dim` normal values; `adjust(row, values)` may change a row before it is stored.
template <typename Adjust>
std::vector<unsigned char> draw_rows(kernels::DType dtype, std::size_t rows, int dim, const Bits& bits,
                                     const Adjust& adjust) {
  constexpr std::size_t kRowsAtATime = 1024;
  const auto width = static_cast<std::size_t>(dim);
  std::vector<unsigned char> data(rows * width * static_cast<std::size_t>(kernels::element_bytes(dtype)));
  kernels::parallel_for((rows + kRowsAtATime - 1) / kRowsAtATime, [&](std::size_t block) {
    std::vector<float> values(width);
    for (std::size_t row = block * kRowsAtATime; row < std::min(rows, (block + 1) * kRowsAtATime); ++row) {
      for (std::size_t d = 0; d < width; ++d) values[d] = bits.normal(row * width + d);
      adjust(row, values);
      kernels::store_elements(dtype, data.data(), static_cast<long long>(row) * dim, dim, values.data());
    }
  });
  return data;
}

}  // namespace fcsa::runner
