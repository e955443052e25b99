// Where tensors lie in memory: densely, or in the other ways that callers have them.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "kernels/problem.h"

namespace fcsa::runner {

// But for dense, every tensor has strides that no other one has, gaps between its rows, and a pointer that is
// aligned to what callers promise (16 bytes, or one element) and no more.
enum class Placement {
  dense,   // in the problem's layout, as what is measured
  padded,  // in the problem's layout
  mixed,   // neighbouring tensors in different layouts
  packed,  // q, k and v as parts of the rows of one projection: [batch, rows, heads + 2 kv_heads, head_dim]
};
inline constexpr Placement kAllPlacements[] = {Placement::dense, Placement::padded, Placement::mixed,
                                               Placement::packed};
std::string_view to_text(Placement placement);

// kernels::shape_args() with the strides of tensors that are placed so.
kernels::BackwardArgs placed_args(const kernels::Problem& problem, Placement placement);

// Rows of one tensor, as the problem's layout has them without gaps, and as they lie in memory.
struct PlacedRows {
  std::size_t element_bytes = 1, alignment = 1;  // of the first element, in bytes: what callers promise
  int batch = 1, heads = 1, rows = 1;
  long long width = 1;
  kernels::Strides dense, placed;  // elements

  bool has_gaps() const;
  std::size_t dense_bytes() const;
  std::size_t placed_bytes() const;  // from the first element to the last
  // Copies all rows to the place that they have among `placed_bytes()` bytes, and back.
  void place(const unsigned char* dense, unsigned char* placed) const;
  void collect(const unsigned char* placed, unsigned char* dense) const;
  // Sets all bytes of all rows, and no other.
  void fill(unsigned char* placed, unsigned char value) const;

 private:
  template <typename Visit>
  void for_each_row(const Visit& visit) const;
};

}  // namespace fcsa::runner
