#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "tests/runner/fake_device.h"
#include "tests/runner/verification/input_cases.h"

namespace fcsa::runner {
namespace {

using kernels::DType;
using kernels::Problem;

TEST(DeviceTensors, OfTheBackwardPassHaveItsInputsAndOutputs) {
  FakeDevice device;
  Problem p = backward_problem();
  p.dtype = DType::bf16;
  p.bias = kernels::Bias::f32;
  p.bias_gradient = p.scale_gradient = true;
  const HostInputs inputs = make_inputs(p, Values::normal, 1);
  DeviceTensors tensors(device, inputs);
  EXPECT_EQ(tensors.outputs(),
            (std::vector{Output::dq, Output::dk, Output::dv, Output::dbias, Output::dscale}));
  const kernels::BackwardArgs args = tensors.args(64);
  tensors.poison_outputs();
  EXPECT_EQ(std::memcmp(args.dout, inputs.dout.data(), inputs.dout.size()), 0);
  EXPECT_EQ(std::memcmp(args.o, inputs.o.data(), inputs.o.size()), 0);
  EXPECT_EQ(std::memcmp(args.lse, inputs.lse.data(), inputs.lse.size() * sizeof(float)), 0);
  EXPECT_TRUE(args.wants_dbias && args.wants_dscale);
  const std::vector<unsigned char> poison(inputs.bias.size(), 0xff);
  EXPECT_EQ(tensors.download(Output::dbias), poison);
  EXPECT_EQ(tensors.download(Output::dq).size(), inputs.q.size());
  EXPECT_EQ(tensors.download(Output::dk).size(), inputs.k.size());
  EXPECT_EQ(tensors.download(Output::dv).size(), inputs.v.size());
  EXPECT_EQ(tensors.download(Output::dscale).size(), 4 * sizeof(float));
  EXPECT_THROW(tensors.download(Output::o), std::invalid_argument);
  static_cast<float*>(args.dbias)[p.batch * p.heads * p.nq * p.nk] = 0;
  EXPECT_EQ(tensors.damaged_guard(), "dbias");
}

TEST(DeviceTensors, OfTheBackwardPassHaveNoOutputsThatAreNotWanted) {
  FakeDevice device;
  Problem p = backward_problem();
  p.bias = kernels::Bias::f32;
  DeviceTensors tensors(device, make_inputs(p, Values::normal, 1));
  EXPECT_EQ(tensors.outputs(), (std::vector{Output::dq, Output::dk, Output::dv}));
  const kernels::BackwardArgs args = tensors.args(0);
  EXPECT_EQ(args.dbias, nullptr);
  EXPECT_EQ(args.dscale, nullptr);
  args.lse[-1] = 0;
  EXPECT_EQ(tensors.damaged_guard(), "lse");
}

TEST(DeviceTensors, HoldTheInputsAlignedTo256Bytes) {
  FakeDevice device;
  const HostInputs inputs = make_inputs(small_problem(), Values::normal, 1);
  DeviceTensors tensors(device, inputs);
  const kernels::Args args = tensors.args(100);
  EXPECT_EQ(std::memcmp(args.k, inputs.k.data(), inputs.k.size()), 0);
  for (const void* pointer : {args.q, args.k, args.v, const_cast<const void*>(args.o)})
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pointer) % 256, 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(args.workspace) % 256, 0u);
  EXPECT_EQ(args.key_mask, nullptr);
  EXPECT_EQ(args.bias, nullptr);
}

TEST(DeviceTensors, KeepTheWorkspaceUntilALargerOneIsAskedFor) {
  FakeDevice device;
  DeviceTensors tensors(device, make_inputs(small_problem(), Values::normal, 1));
  EXPECT_EQ(tensors.args(0).workspace, nullptr);
  const auto* first = static_cast<const char*>(tensors.args(1000).workspace);
  // The end of it, so that what lies behind shows.
  EXPECT_EQ(tensors.args(10).workspace, first + 3 * 256);
  EXPECT_EQ(tensors.workspace_bytes(), 1000u);
  tensors.args(5000);
  EXPECT_EQ(tensors.workspace_bytes(), 5000u);
}

TEST(DeviceTensors, PoisonedOutputsAreNaN) {
  FakeDevice device;
  DeviceTensors tensors(device, make_inputs(small_problem(), Values::normal, 1));
  tensors.poison_outputs();
  EXPECT_EQ(tensors.outputs(), (std::vector{Output::o, Output::lse}));
  for (const Output output : tensors.outputs()) {
    const std::vector<unsigned char> data = tensors.download(output);
    EXPECT_TRUE(std::isnan(kernels::load_element(DType::f32, data.data(), 17)));
  }
}

TEST(DeviceTensors, NoticeWritesRightBeforeAndRightBehindABuffer) {
  FakeDevice device;
  const Problem p = small_problem();
  const HostInputs inputs = make_inputs(p, Values::normal, 1);
  DeviceTensors tensors(device, inputs);
  const kernels::Args args = tensors.args(777);
  EXPECT_EQ(tensors.damaged_guard(), "");
  const auto changes = [&](const void* at, std::ptrdiff_t offset) {
    auto* byte = const_cast<unsigned char*>(static_cast<const unsigned char*>(at)) + offset;
    const unsigned char before = *byte;
    *byte = 0;
    std::string damaged = tensors.damaged_guard();
    *byte = before;
    return damaged;
  };
  const auto o_bytes = static_cast<std::ptrdiff_t>(inputs.q.size());
  EXPECT_EQ(changes(args.o, -1), "o");
  EXPECT_EQ(changes(args.o, o_bytes), "o");
  EXPECT_EQ(changes(args.o, o_bytes + 4095), "o");
  EXPECT_EQ(changes(args.lse, p.batch * p.heads * p.nq * 4), "lse");
  EXPECT_EQ(changes(args.workspace, 777), "workspace");
  EXPECT_EQ(changes(args.k, -4), "k");
}

}  // namespace
}  // namespace fcsa::runner
