// How long does a kernel take? Warm-up, then samples until the interval of the median is narrow.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "runner/device/device.h"
#include "runner/verification/inputs.h"
#include "tuner/trials/trial.h"

namespace fcsa::runner {

struct MeasurementOptions {
  tuner::CacheState cache = tuner::CacheState::warm;
  double target_relative_interval = 0.01;  // stop when (high - low) / median of the 95% interval is below
  int min_samples = 7;
  int max_samples = 200;
  double max_seconds = 1.0;    // per candidate, whatever the interval
  double min_sample_ms = 0.2;  // shorter launches are batched into one sample
  // Not 0: at least so many launches whatever the interval and the number of samples, fewer only where
  // max_seconds ends it.
  int launches = 0;
};

// What is measured: a loaded module, its plan, and argument sets to rotate among (one when warm).
struct MeasuredKernel {
  const Module* module = nullptr;
  kernels::LaunchPlan plan;
  std::vector<kernels::BackwardArgs> args;
};

// Interleaves the contenders round by round, so that drift hits all of them; one Measurement each, in order.
// With one contender this is the plain measurement. Preceded by a warm-up of at least 3 launches and 20 ms
// each, less where one launch takes a large part of max_seconds. A slow kernel gets fewer samples than
// min_samples, but at least 2. On a GPU, rounds taken under a throttle (clock under 75% of what it was at the
// warm-up) are dropped after a pause of 50 ms, at most 20 times. peak_memory_bytes and extra_memory_bytes are
// left at zero. `starting(i)` is called before every batch of launches of contender i. Throws DeviceError,
// OutOfMemory. Precondition: every contender has at least one set of arguments.
std::vector<tuner::Measurement> measure(Device& device, std::span<const MeasuredKernel> contenders,
                                        const MeasurementOptions& options,
                                        const std::function<void(std::size_t)>& starting = {});

}  // namespace fcsa::runner
