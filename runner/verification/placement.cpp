#include "runner/verification/placement.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <utility>

namespace fcsa::runner {
namespace {

using kernels::Layout;
using kernels::Problem;
using kernels::Strides;

struct Sizes {
  int heads, rows, width;
};

// Gaps of `unit` elements times an odd number behind rows (or what is innermost), and others further out.
Strides strides_with_gaps(Layout layout, const Sizes& n, int tensor, long long unit) {
  const long long inner = n.width + (2LL * tensor + 1) * unit;
  const bool rows_inside = layout == Layout::bhnd;
  const long long outer = (rows_inside ? n.rows : n.heads) * inner + (tensor + 2LL) * unit;
  const long long batch = (rows_inside ? n.heads : n.rows) * outer + (tensor + 1LL) * unit;
  return rows_inside ? Strides{batch, outer, inner} : Strides{batch, inner, outer};
}

Layout other(Layout layout) {
  return layout == Layout::bhnd ? Layout::bnhd : Layout::bhnd;
}

struct Placer {
  const Problem& problem;
  Placement placement;
  int tensors = 0;

  // In the order of the calls every tensor gets gaps of its own.
  Strides next(int heads, int rows, bool part_of_projection) {
    const int tensor = tensors++;
    const Sizes sizes{heads, rows, problem.head_dim};
    const long long unit = 16 / kernels::element_bytes(problem.dtype);
    if (placement == Placement::packed && part_of_projection) {
      const long long row = (problem.heads + 2LL * problem.kv_heads) * problem.head_dim;
      return {rows * row, problem.head_dim, row};
    }
    const bool swapped = placement == Placement::mixed && tensor % 2 == 0;
    return strides_with_gaps(swapped ? other(problem.layout) : problem.layout, sizes, tensor, unit);
  }
};

}  // namespace

std::string_view to_text(Placement placement) {
  constexpr std::array<std::string_view, std::size(kAllPlacements)> kNames = {"dense", "padded", "mixed",
                                                                              "packed"};
  return kNames.at(static_cast<std::size_t>(placement));
}

kernels::BackwardArgs placed_args(const Problem& p, Placement placement) {
  kernels::BackwardArgs args = kernels::shape_args(p);
  if (placement == Placement::dense) return args;
  Placer placer{p, placement};
  args.q_strides = placer.next(p.heads, p.nq, true);
  args.k_strides = placer.next(p.kv_heads, p.nk, true);
  args.v_strides = placer.next(p.kv_heads, p.nk, true);
  args.o_strides = placer.next(p.heads, p.nq, false);
  args.dout_strides = placer.next(p.heads, p.nq, false);
  args.dq_strides = placer.next(p.heads, p.nq, true);
  args.dk_strides = placer.next(p.kv_heads, p.nk, true);
  args.dv_strides = placer.next(p.kv_heads, p.nk, true);
  const Sizes bias{args.bias_heads, p.nq, p.nk};
  args.bias_strides = strides_with_gaps(Layout::bhnd, bias, 1, 1);
  args.dbias_strides = strides_with_gaps(Layout::bhnd, bias, 2, 1);
  args.key_mask_stride += 3;
  return args;
}

bool PlacedRows::has_gaps() const {
  return placed_bytes() != dense_bytes();
}

std::size_t PlacedRows::dense_bytes() const {
  return static_cast<std::size_t>(batch) * static_cast<std::size_t>(heads) * static_cast<std::size_t>(rows) *
         static_cast<std::size_t>(width) * element_bytes;
}

std::size_t PlacedRows::placed_bytes() const {
  if (dense_bytes() == 0) return 0;
  const long long last =
      (batch - 1) * placed.batch + (heads - 1) * placed.head + (rows - 1) * placed.row + width;
  return static_cast<std::size_t>(last) * element_bytes;
}

// visit(byte offset among dense rows, byte offset among placed ones, bytes of the row)
template <typename Visit>
void PlacedRows::for_each_row(const Visit& visit) const {
  const auto offset = [&](const Strides& s, int b, int h, int r) {
    return static_cast<std::size_t>(b * s.batch + h * s.head + r * s.row) * element_bytes;
  };
  const std::size_t bytes = static_cast<std::size_t>(width) * element_bytes;
  for (int b = 0; b < batch; ++b)
    for (int h = 0; h < heads; ++h)
      for (int r = 0; r < rows; ++r) visit(offset(dense, b, h, r), offset(placed, b, h, r), bytes);
}

void PlacedRows::place(const unsigned char* from, unsigned char* to) const {
  for_each_row([&](std::size_t in_dense, std::size_t in_placed, std::size_t bytes) {
    std::memcpy(to + in_placed, from + in_dense, bytes);
  });
}

void PlacedRows::collect(const unsigned char* from, unsigned char* to) const {
  for_each_row([&](std::size_t in_dense, std::size_t in_placed, std::size_t bytes) {
    std::memcpy(to + in_dense, from + in_placed, bytes);
  });
}

void PlacedRows::fill(unsigned char* to, unsigned char value) const {
  for_each_row([&](std::size_t, std::size_t in_placed, std::size_t bytes) {
    std::memset(to + in_placed, value, bytes);
  });
}

}  // namespace fcsa::runner
