// Tensors of fcsa.h in host memory, of any strides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/reference/reference.h"
#include "library/fcsa.h"

namespace fcsa::library {

// What outputs are filled with before they are written.
constexpr unsigned char kPattern = 0xa5;

// Memory aligned to 256 bytes, filled with one byte value.
class Memory {
 public:
  Memory(std::size_t bytes, unsigned char value);
  unsigned char* data() const { return data_.get(); }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(unsigned char* data) const { std::free(data); }
  };
  std::size_t bytes_;
  std::unique_ptr<unsigned char, Free> data_;
};

// Sizes and strides of a tensor.
struct Shape {
  int batch, heads, rows, channels;
  kernels::Strides strides;

  std::size_t elements() const;
  long long start(const kernels::RowIndex& row) const {
    return row.batch * strides.batch + row.head * strides.head + row.row * strides.row;
  }
  std::vector<kernels::RowIndex> all_rows() const;
};

// Of a problem's tensors with these strides; strides that are all zero are dense in the problem's layout.
Shape shape_of_queries(const fcsa_problem& problem, const fcsa_strides& strides);
Shape shape_of_keys(const fcsa_problem& problem, const fcsa_strides& strides);
Shape shape_of_bias(const fcsa_problem& problem, const fcsa_strides& strides);

kernels::DType dtype_of(const fcsa_problem& problem);
kernels::DType bias_dtype_of(const fcsa_problem& problem);

// Random values, and NaN in between.
Memory random_tensor(kernels::DType dtype, const Shape& shape, unsigned seed);
// A tensor to be written.
Memory output_tensor(kernels::DType dtype, const Shape& shape);
// Whether everything in an output that belongs to no row is as it was.
bool gaps_are_intact(const Memory& output, kernels::DType dtype, const Shape& shape);

}  // namespace fcsa::library
