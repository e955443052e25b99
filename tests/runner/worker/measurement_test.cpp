#include "runner/worker/measurement.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

namespace fcsa::runner {
namespace {

class NoModule final : public Module {};

// A device whose launches take the time that a test says, without spending it.
class FakeDevice final : public Device {
 public:
  FakeDevice() { info_.target.kind = kernels::DeviceKind::cuda; }

  // Milliseconds of the n-th launch of a module.
  std::function<double(const Module&, int)> launch_ms = [](const Module&, int) { return 1.0; };
  std::function<double()> sm_mhz = [] { return 1000.0; };
  std::vector<const Module*> launched;
  std::vector<const void*> inputs;
  int batches = 0;

  const kernels::DeviceInfo& info() const override { return info_; }
  std::unique_ptr<Module> load(const Binary&) override { return nullptr; }
  std::unique_ptr<Buffer> allocate(std::size_t) override { return nullptr; }
  void upload(Buffer&, std::size_t, const void*, std::size_t) override {}
  void download(void*, const Buffer&, std::size_t, std::size_t) override {}
  void fill(Buffer&, std::size_t, unsigned char, std::size_t) override {}
  void launch(const Module& module, const kernels::LaunchPlan&, const kernels::BackwardArgs& args) override {
    elapsed_ms_ += launch_ms(module, counts_[&module]++);
    launched.push_back(&module);
    inputs.push_back(args.q);
  }
  void synchronize() override {}
  double time_ms(const std::function<void()>& enqueue) override {
    elapsed_ms_ = 0;
    ++batches;
    enqueue();
    return elapsed_ms_;
  }
  tuner::Clocks clocks() override { return {.sm_mhz = sm_mhz(), .throttle_reasons = {}}; }
  void reset_peak_memory() override {}
  std::size_t peak_memory_bytes() override { return 0; }

 private:
  kernels::DeviceInfo info_;
  double elapsed_ms_ = 0;
  std::map<const Module*, int> counts_;
};

tuner::Measurement measure_one(FakeDevice& device, const MeasurementOptions& options = {}) {
  const NoModule module;
  const MeasuredKernel contender{&module, {}, {kernels::BackwardArgs{}}};
  return measure(device, {&contender, 1}, options).front();
}

TEST(Measurement, StopsAtTheFewestSamplesWhenTheyAgree) {
  FakeDevice device;
  const auto result = measure_one(device);
  EXPECT_EQ(result.samples_ms, std::vector<double>(7, 1.0));
  EXPECT_EQ(result.median_ms, 1.0);
  EXPECT_EQ(result.launches_per_sample, 1);
}

TEST(Measurement, WarmsUpForAtLeast20Milliseconds) {
  FakeDevice device;
  measure_one(device);
  EXPECT_EQ(device.launched.size(), 20U + 7U);
}

TEST(Measurement, TakesMoreSamplesWhileTheyDisagree) {
  FakeDevice device;
  device.launch_ms = [](const Module&, int n) { return n % 2 == 0 ? 1.0 : 1.5; };
  EXPECT_EQ(measure_one(device, {.max_samples = 40}).samples_ms.size(), 40U);
}

TEST(Measurement, KeepsNoSampleOfTheWarmUp) {
  FakeDevice device;
  device.launch_ms = [](const Module&, int n) { return n < 3 ? 50.0 : 1.0; };
  EXPECT_EQ(measure_one(device).samples_ms, std::vector<double>(7, 1.0));
}

TEST(Measurement, BatchesShortLaunchesIntoOneSample) {
  FakeDevice device;
  device.launch_ms = [](const Module&, int) { return 0.01; };
  const auto result = measure_one(device);
  EXPECT_EQ(result.launches_per_sample, 32);
  EXPECT_NEAR(result.median_ms, 0.01, 1e-12);
}

TEST(Measurement, TakesFewSamplesOfAVerySlowKernel) {
  FakeDevice device;
  device.launch_ms = [](const Module&, int) { return 5000.0; };
  EXPECT_EQ(measure_one(device).samples_ms.size(), 2U);
  EXPECT_EQ(device.launched.size(), 3U);
}

TEST(Measurement, SpendsNoMoreThanItsTimeOnASlowKernel) {
  FakeDevice device;
  device.launch_ms = [](const Module&, int n) { return n % 2 == 0 ? 90.0 : 120.0; };
  measure_one(device, {.max_seconds = 1.0});
  EXPECT_LE(device.launched.size(), 11U);
}

TEST(Measurement, TakesAsManyLaunchesAsAskedForWhateverTheInterval) {
  FakeDevice device;
  device.launch_ms = [](const Module&, int) { return 0.01; };
  const auto result = measure_one(device, {.max_samples = 8, .launches = 1000});
  EXPECT_EQ(result.launches_per_sample, 32);
  EXPECT_EQ(result.samples_ms.size(), 32U) << "of 32 launches: the fewest that hold 1000";
}

TEST(Measurement, AsManyLaunchesAsAskedForStillEndWithTheTime) {
  FakeDevice device;
  device.launch_ms = [](const Module&, int) { return 50.0; };
  EXPECT_LE(measure_one(device, {.max_seconds = 1.0, .launches = 1000}).samples_ms.size(), 20U);
}

TEST(Measurement, EndsForALaunchThatTakesNoTime) {
  FakeDevice device;
  device.launch_ms = [](const Module&, int) { return 0.0; };
  EXPECT_EQ(measure_one(device).median_ms, 0.0);
}

TEST(Measurement, TakesContendersInTurn) {
  FakeDevice device;
  const NoModule a;
  const NoModule b;
  const std::vector<MeasuredKernel> contenders{{&a, {}, {kernels::BackwardArgs{}}},
                                               {&b, {}, {kernels::BackwardArgs{}}}};
  const auto results = measure(device, contenders, {.min_samples = 10});
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].samples_ms.size(), results[1].samples_ms.size());
  // Rounds begin with another contender each time: a b, b a, a b, ...
  const std::vector<const Module*> sampled(device.launched.end() - 4, device.launched.end());
  EXPECT_TRUE((sampled == std::vector<const Module*>{&a, &b, &b, &a} ||
               sampled == std::vector<const Module*>{&b, &a, &a, &b}));
}

TEST(Measurement, GivesResultsInTheOrderOfTheContenders) {
  FakeDevice device;
  const NoModule a;
  const NoModule b;
  device.launch_ms = [&](const Module& module, int) { return &module == &a ? 1.0 : 3.0; };
  const std::vector<MeasuredKernel> contenders{{&a, {}, {kernels::BackwardArgs{}}},
                                               {&b, {}, {kernels::BackwardArgs{}}}};
  const auto results = measure(device, contenders, {});
  EXPECT_EQ(results[0].median_ms, 1.0);
  EXPECT_EQ(results[1].median_ms, 3.0);
}

TEST(Measurement, GoesOnWithTheOthersWhenASlowContenderIsFinished) {
  FakeDevice device;
  const NoModule slow;
  const NoModule fast;
  device.launch_ms = [&](const Module& module, int n) {
    return &module == &slow ? 900.0 : n % 2 == 0 ? 1.0 : 1.2;
  };
  const std::vector<MeasuredKernel> contenders{{&slow, {}, {kernels::BackwardArgs{}}},
                                               {&fast, {}, {kernels::BackwardArgs{}}}};
  const auto results = measure(device, contenders, {.max_samples = 50});
  EXPECT_EQ(results[0].samples_ms.size(), 2U);
  EXPECT_EQ(results[1].samples_ms.size(), 50U);
}

TEST(Measurement, RotatesAmongTheInputSets) {
  FakeDevice device;
  const NoModule module;
  std::vector<kernels::BackwardArgs> sets(3);
  const std::array<int, 3> inputs{};
  for (std::size_t i = 0; i < sets.size(); ++i) sets[i].q = &inputs[i];
  const MeasuredKernel contender{&module, {}, sets};
  measure(device, {&contender, 1}, {.cache = tuner::CacheState::cold});
  ASSERT_GT(device.inputs.size(), 6U);
  for (std::size_t i = 0; i < device.inputs.size(); ++i) EXPECT_EQ(device.inputs[i], &inputs[i % 3]);
}

TEST(Measurement, DropsSamplesTakenAtALowClock) {
  FakeDevice device;
  bool throttled = false;
  int reads = 0;
  device.sm_mhz = [&] {
    throttled = ++reads >= 2 && reads <= 4;
    return throttled ? 700.0 : 1000.0;
  };
  device.launch_ms = [&](const Module&, int) { return reads >= 1 && reads <= 3 ? 2.0 : 1.0; };
  EXPECT_EQ(measure_one(device).samples_ms, std::vector<double>(7, 1.0));
}

TEST(Measurement, EndsOnADeviceThatIsThrottledForGood) {
  FakeDevice device;
  int reads = 0;
  device.sm_mhz = [&] { return ++reads == 1 ? 1000.0 : 500.0; };
  EXPECT_GE(measure_one(device).samples_ms.size(), 2U);
}

TEST(Measurement, RecordsTheClocksWhileMeasuring) {
  FakeDevice device;
  int reads = 0;
  device.sm_mhz = [&] { return 1000.0 + ++reads; };
  EXPECT_GT(measure_one(device).clocks.sm_mhz, 1001.0);
}

TEST(Measurement, AnnouncesEveryBatchBeforeItsLaunches) {
  FakeDevice device;
  const NoModule module;
  const MeasuredKernel contender{&module, {}, {kernels::BackwardArgs{}}};
  std::vector<std::size_t> launched_before;
  measure(device, {&contender, 1}, {}, [&](std::size_t i) {
    EXPECT_EQ(i, 0U);
    launched_before.push_back(device.launched.size());
  });
  EXPECT_EQ(launched_before.front(), 0U);
  EXPECT_EQ(launched_before.back() + 1, device.launched.size());
}

}  // namespace
}  // namespace fcsa::runner
