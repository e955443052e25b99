#include "runner/verification/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <tuple>

#include "runner/cpu/memory.h"
#include "runner/verification/inputs.h"
#include "tests/runner/fake_device.h"

namespace fcsa::runner {
namespace {

using kernels::Problem;
using kernels::Strides;

Problem square_problem(kernels::DType dtype) {
  return {.op = kernels::Op::backward,
          .dtype = dtype,
          .head_dim = 32,
          .batch = 2,
          .heads = 2,
          .kv_heads = 2,
          .nq = 9,
          .nk = 9,
          .key_mask = true,
          .logit_bound = {},
          .bias = kernels::Bias::f32};
}

std::vector<Strides> strides_of(const kernels::BackwardArgs& a) {
  return {a.q_strides,    a.k_strides,  a.v_strides,  a.o_strides,
          a.dout_strides, a.dq_strides, a.dk_strides, a.dv_strides};
}

TEST(Placement, GivesEveryTensorStridesOfItsOwnThatAreMultiplesOf16Bytes) {
  for (const auto dtype : {kernels::DType::f32, kernels::DType::f16})
    for (const Placement placement : {Placement::padded, Placement::mixed}) {
      const kernels::BackwardArgs args = placed_args(square_problem(dtype), placement);
      std::set<std::tuple<long long, long long, long long>> known;
      for (const Strides& s : strides_of(args)) {
        known.insert({s.batch, s.head, s.row});
        for (const long long stride : {s.batch, s.head, s.row})
          EXPECT_EQ(stride * kernels::element_bytes(dtype) % 16, 0);
      }
      EXPECT_EQ(known.size(), 8u);
      EXPECT_NE(args.bias_strides.row, args.dbias_strides.row);
      EXPECT_GT(args.bias_strides.row, 9);
      EXPECT_GT(args.key_mask_stride, 9);
    }
}

TEST(Placement, PackedIsWhatAProjectionOfQueriesKeysAndValuesGives) {
  Problem p = square_problem(kernels::DType::f16);
  p.heads = 4;
  const kernels::BackwardArgs args = placed_args(p, Placement::packed);
  EXPECT_EQ(args.q_strides.row, (4 + 2 * 2) * 32);
  EXPECT_EQ(args.k_strides.row, args.q_strides.row);
  EXPECT_EQ(args.v_strides.head, 32);
}

TEST(PlacedRows, GoToTheirPlacesAndBack) {
  const PlacedRows rows{.element_bytes = 4,
                        .alignment = 16,
                        .batch = 2,
                        .heads = 3,
                        .rows = 5,
                        .width = 4,
                        .dense = {60, 20, 4},
                        .placed = {200, 8, 28}};
  EXPECT_TRUE(rows.has_gaps());
  std::vector<unsigned char> dense(rows.dense_bytes());
  std::iota(dense.begin(), dense.end(), static_cast<unsigned char>(0));
  std::vector<unsigned char> placed(rows.placed_bytes(), 0xee), back(dense.size());
  rows.place(dense.data(), placed.data());
  rows.collect(placed.data(), back.data());
  EXPECT_EQ(back, dense);
  EXPECT_EQ(placed[(200 + 2 * 8 + 4 * 28) * 4], dense[(60 + 2 * 20 + 4 * 4) * 4]);
  EXPECT_EQ(placed[4 * 4], 0xee) << "a gap";
  rows.fill(placed.data(), 0xee);
  EXPECT_TRUE(std::all_of(placed.begin(), placed.end(), [](unsigned char byte) { return byte == 0xee; }));
}

TEST(DeviceTensors, OfOtherPlacementsAreAlignedTo16BytesAndNoMore) {
  const HostInputs inputs = make_inputs(square_problem(kernels::DType::f32), Values::normal, 1);
  FakeDevice device;
  DeviceTensors tensors(device, inputs, Placement::padded);
  const kernels::BackwardArgs args = tensors.args(100);
  const auto place = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); };
  for (const void* tensor : {args.q, args.k, args.v, static_cast<const void*>(args.o), args.dout,
                             static_cast<const void*>(args.dq), static_cast<const void*>(args.dk)})
    EXPECT_EQ(place(tensor) % 32, 16u);
  EXPECT_EQ(place(args.lse) % 8, 4u);
  EXPECT_EQ(place(args.bias) % 8, 4u);
  EXPECT_EQ(place(args.key_mask) % 2, 1u);
  EXPECT_EQ(place(args.workspace) % 256, 0u);
}

TEST(HostBuffer, EndsAtAPageWithoutAccess) {
  const cpu::HostBuffer buffer(cpu::HostBuffer::kPageBytes);
  volatile unsigned char* const data = static_cast<unsigned char*>(buffer.data());
  data[cpu::HostBuffer::kPageBytes - 1] = 1;
  EXPECT_DEATH(static_cast<void>(data[cpu::HostBuffer::kPageBytes]), "");
}

}  // namespace
}  // namespace fcsa::runner
