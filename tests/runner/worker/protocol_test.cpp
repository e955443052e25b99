#include "runner/worker/protocol.h"
#include "runner/process/channel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace fcsa::runner {
namespace {

using nlohmann::json;

template <typename T>
T through_the_wire(const T& value) {
  return decode(encode(json(value))).template get<T>();
}

TEST(Frame, ComesOutAsItWentInWhateverThePieces) {
  const std::string payload = "some payload";
  const std::string bytes = frame_header(payload) + payload + frame_header("") + frame_header("x") + "x";
  FrameReader reader;
  std::vector<std::string> frames;
  for (const char byte : bytes) {
    reader.append({&byte, 1});
    while (auto frame = reader.next()) frames.push_back(*frame);
  }
  EXPECT_EQ(frames, (std::vector<std::string>{payload, "", "x"}));
  EXPECT_TRUE(reader.empty());
}

TEST(Frame, IsRefusedFromTheFirstWrongByte) {
  FrameReader reader;
  reader.append("fcsb");
  EXPECT_THROW(reader.next(), ProtocolError);
}

TEST(Frame, LargerThanTheLimitIsRefusedBeforeItArrives) {
  FrameReader reader;
  reader.append(std::string("fcsa\x01\x00\x00\x04", 8));
  EXPECT_THROW(reader.next(), ProtocolError);
}

TEST(Protocol, KeepsBytesThatAreNotUtf8) {
  CompileResult result;
  result.log = "caf\xe9 \xff";
  result.message = "\x80";
  const auto copy = through_the_wire(result);
  EXPECT_EQ(copy.log, result.log);
  EXPECT_EQ(copy.message, result.message);
}

TEST(Protocol, KeepsNaNAndInfinity) {
  const tuner::Accuracy accuracy{std::numeric_limits<double>::quiet_NaN(),
                                 std::numeric_limits<double>::infinity()};
  const auto copy = through_the_wire(accuracy);
  EXPECT_TRUE(std::isnan(copy.error));
  EXPECT_EQ(copy.tolerance, accuracy.tolerance);
}

TEST(Protocol, CarriesAJob) {
  Check check;
  check.problem.head_dim = 32;
  check.problem.heads = 4;
  check.problem.kv_heads = 2;
  check.problem.causal = true;
  check.plan.count = 2;
  check.plan.steps[1] = {.kernel = 1, .grid_x = 3, .grid_y = 4, .grid_z = 5, .threads = 6, .smem_bytes = 7};
  check.plan.workspace_bytes = 1LL << 40;
  check.values = Values::tiny_rows;
  check.seed = std::numeric_limits<std::uint64_t>::max();
  check.launches = 5;
  Job job;
  job.candidates.push_back({{"a.so", {"x", "y"}}, {check}, check});
  job.measurement.cache = tuner::CacheState::cold;
  job.measurement.max_seconds = 0.1;
  const Job copy = through_the_wire(job);
  const Check& checked = copy.candidates.at(0).small_checks.at(0);
  EXPECT_EQ(checked.problem, check.problem);
  EXPECT_EQ(checked.plan.count, 2);
  EXPECT_EQ(checked.plan.steps[1].smem_bytes, 7U);
  EXPECT_EQ(checked.plan.workspace_bytes, 1LL << 40);
  EXPECT_EQ(checked.values, Values::tiny_rows);
  EXPECT_EQ(checked.seed, check.seed);
  EXPECT_EQ(checked.launches, 5);
  EXPECT_EQ(copy.candidates[0].binary.symbols, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(copy.measurement.cache, tuner::CacheState::cold);
  EXPECT_EQ(copy.measurement.max_seconds, 0.1);
}

TEST(Protocol, CarriesThePersistentLaunchesAndTensorMapsOfAPlan) {
  kernels::LaunchPlan plan;
  plan.count = 1;
  plan.steps[0] = {.blocks_per_multiprocessor = 2, .cooperative = true};
  plan.map_count = 2;
  plan.maps[0] = {.tensor = kernels::TensorMap::workspace,
                  .first_byte = 1LL << 33,
                  .rank = 5,
                  .size = {64, 4, 1LL << 32, 8, 2},
                  .stride_bytes = {128, 256, 1LL << 40, 1LL << 41},
                  .box = {64, 4, 16, 1, 1},
                  .swizzle_bytes = 128};
  plan.maps[1] = {.tensor = kernels::TensorMap::v, .rank = 4, .swizzle_bytes = 32};
  const auto copy = through_the_wire(plan);
  EXPECT_EQ(copy.steps[0].blocks_per_multiprocessor, 2U);
  EXPECT_TRUE(copy.steps[0].cooperative);
  ASSERT_EQ(copy.map_count, 2);
  for (int i = 0; i < plan.map_count; ++i) {
    const kernels::TensorMap &sent = plan.maps[i], &received = copy.maps[i];
    EXPECT_EQ(received.tensor, sent.tensor);
    EXPECT_EQ(received.first_byte, sent.first_byte);
    EXPECT_EQ(received.rank, sent.rank);
    EXPECT_EQ(received.swizzle_bytes, sent.swizzle_bytes);
    EXPECT_TRUE(std::ranges::equal(received.size, sent.size));
    EXPECT_TRUE(std::ranges::equal(received.stride_bytes, sent.stride_bytes));
    EXPECT_TRUE(std::ranges::equal(received.box, sent.box));
  }
}

TEST(Protocol, CarriesAnEvaluation) {
  tuner::Evaluation evaluation;
  evaluation.status = tuner::Status::wrong_result;
  evaluation.message = "o[3] is off";
  evaluation.measurement.samples_ms = {1.5, 0.1};
  evaluation.measurement.clocks.throttle_reasons = "sw_power_cap";
  evaluation.resources.registers = 128;
  const auto copy = through_the_wire(evaluation);
  EXPECT_EQ(copy.status, evaluation.status);
  EXPECT_EQ(copy.message, evaluation.message);
  EXPECT_EQ(copy.measurement.samples_ms, evaluation.measurement.samples_ms);
  EXPECT_EQ(copy.measurement.clocks.throttle_reasons, "sw_power_cap");
  EXPECT_EQ(copy.resources.registers, 128);
}

TEST(Protocol, CarriesAnInventory) {
  Inventory inventory;
  auto& device = inventory.devices.emplace_back();
  device.info.target.arch = "sm_90a";
  device.info.target.kind = kernels::DeviceKind::cuda;
  device.info.index = 3;
  device.missing = "NVRTC";
  inventory.libraries.push_back({.name = "nvrtc", .version = "13.0", .path = "/x", .problem = ""});
  const auto copy = through_the_wire(inventory);
  EXPECT_EQ(copy.devices.at(0).info.target, inventory.devices[0].info.target);
  EXPECT_EQ(copy.devices[0].info.index, 3);
  EXPECT_EQ(copy.devices[0].missing, "NVRTC");
  EXPECT_EQ(copy.libraries.at(0).version, "13.0");
}

TEST(Protocol, NamesTheMemberThatIsMissing) {
  try {
    member<kernels::Target>(json{{"targe", 1}}, "target");
    FAIL() << "accepted";
  } catch (const ProtocolError& error) {
    EXPECT_NE(std::string(error.what()).find("\"target\""), std::string::npos) << error.what();
  }
}

TEST(Protocol, RefusesWhatIsNotCbor) {
  EXPECT_THROW(decode("\xff\xff"), ProtocolError);
}

TEST(Protocol, RefusesAPlanWithTooManySteps) {
  json plan;
  plan["steps"] = std::vector<kernels::Launch>(5);
  plan["maps"] = std::vector<kernels::TensorMap>();
  plan["workspace_bytes"] = 0;
  EXPECT_THROW(plan.get<kernels::LaunchPlan>(), std::out_of_range);
}

TEST(Protocol, RefusesAPlanWithTooManyTensorMaps) {
  json plan;
  plan["steps"] = std::vector<kernels::Launch>(1);
  plan["maps"] = std::vector<kernels::TensorMap>(kernels::TensorMaps::kMost + 1);
  plan["workspace_bytes"] = 0;
  EXPECT_THROW(plan.get<kernels::LaunchPlan>(), std::out_of_range);
}

}  // namespace
}  // namespace fcsa::runner
