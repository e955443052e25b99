#include "tests/library/tensors.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace fcsa::library {
namespace {

using kernels::DType;
using kernels::Strides;

constexpr unsigned char kNan = 0xff;

Shape laid_out(Shape shape, const fcsa_strides& given, std::int32_t layout) {
  const long long h = shape.heads, n = shape.rows, d = shape.channels;
  shape.strides = {given.batch, given.head, given.row};
  if (given.batch == 0 && given.head == 0 && given.row == 0)
    shape.strides = layout == FCSA_BNHD ? Strides{n * h * d, d, h * d} : Strides{h * n * d, n * d, d};
  return shape;
}

}  // namespace

Memory::Memory(std::size_t bytes, unsigned char value)
    : bytes_(bytes), data_(static_cast<unsigned char*>(std::aligned_alloc(256, (bytes + 255) / 256 * 256))) {
  std::memset(data_.get(), value, (bytes + 255) / 256 * 256);
}

std::size_t Shape::elements() const {
  return static_cast<std::size_t>(start({batch - 1, heads - 1, rows - 1}) + channels);
}

std::vector<kernels::RowIndex> Shape::all_rows() const {
  std::vector<kernels::RowIndex> all;
  for (int b = 0; b < batch; ++b)
    for (int h = 0; h < heads; ++h)
      for (int i = 0; i < rows; ++i) all.push_back({b, h, i});
  return all;
}

Shape shape_of_queries(const fcsa_problem& p, const fcsa_strides& strides) {
  return laid_out({p.batch, p.heads, p.nq, p.head_dim, {}}, strides, p.layout);
}

Shape shape_of_keys(const fcsa_problem& p, const fcsa_strides& strides) {
  return laid_out({p.batch, p.kv_heads != 0 ? p.kv_heads : p.heads, p.nk, p.head_dim, {}}, strides, p.layout);
}

Shape shape_of_bias(const fcsa_problem& p, const fcsa_strides& strides) {
  const int batch = p.bias_batch != 0 ? p.bias_batch : p.batch;
  const int heads = p.bias_heads != 0 ? p.bias_heads : p.heads;
  return laid_out({batch, heads, p.nq, p.nk, {}}, strides, FCSA_BHND);
}

DType dtype_of(const fcsa_problem& p) {
  return p.dtype == FCSA_F32 ? DType::f32 : p.dtype == FCSA_BF16 ? DType::bf16 : DType::f16;
}

DType bias_dtype_of(const fcsa_problem& p) {
  return p.bias == FCSA_BIAS_F32 ? DType::f32 : dtype_of(p);
}

Memory random_tensor(DType dtype, const Shape& shape, unsigned seed) {
  Memory memory(shape.elements() * kernels::element_bytes(dtype), kNan);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (const auto& row : shape.all_rows())
    for (int c = 0; c < shape.channels; ++c)
      kernels::store_element(dtype, memory.data(), shape.start(row) + c, normal(random));
  return memory;
}

Memory output_tensor(DType dtype, const Shape& shape) {
  return {shape.elements() * kernels::element_bytes(dtype), kPattern};
}

bool gaps_are_intact(const Memory& output, DType dtype, const Shape& shape) {
  const std::size_t element = kernels::element_bytes(dtype);
  std::vector<bool> belongs(output.bytes() / element);
  for (const auto& row : shape.all_rows())
    std::fill_n(belongs.begin() + shape.start(row), shape.channels, true);
  for (std::size_t i = 0; i < output.bytes(); ++i)
    if (!belongs[i / element] && output.data()[i] != kPattern) return false;
  return true;
}

}  // namespace fcsa::library
