// Problems, devices, what compilers and kernels give, as JSON: for messages between processes and for files.
#pragma once

#include <nlohmann/json.hpp>

#include "runner/device/compiler.h"
#include "runner/device/device.h"

namespace fcsa::kernels {

void to_json(nlohmann::json& json, const Problem& problem);  // its text form
void from_json(const nlohmann::json& json, Problem& problem);
void to_json(nlohmann::json& json, DeviceKind kind);
void from_json(const nlohmann::json& json, DeviceKind& kind);
void to_json(nlohmann::json& json, const LaunchPlan& plan);
void from_json(const nlohmann::json& json, LaunchPlan& plan);

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Target, kind, arch, compute_capability, multiprocessors,
                                   max_threads_per_block, smem_per_block_bytes, l2_bytes, memory_bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeviceInfo, target, index, name, uuid, driver, compiler)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Launch, kernel, grid_x, grid_y, grid_z, threads, smem_bytes,
                                   blocks_per_multiprocessor, cooperative)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(TensorMap, tensor, first_byte, rank, size, stride_bytes, box,
                                   swizzle_bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(KernelSource, kind, text, entries)

}  // namespace fcsa::kernels

namespace fcsa::tuner {

void to_json(nlohmann::json& json, Status status);
void from_json(const nlohmann::json& json, Status& status);
void to_json(nlohmann::json& json, CacheState state);
void from_json(const nlohmann::json& json, CacheState& state);

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Resources, registers, spill_bytes, stack_bytes, smem_bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Clocks, sm_mhz, memory_mhz, temperature_c, power_w, throttle_reasons)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Measurement, samples_ms, launches_per_sample, cache, median_ms, ci_low_ms,
                                   ci_high_ms, peak_memory_bytes, extra_memory_bytes, clocks)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Accuracy, error, tolerance)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Evaluation, status, message, measurement, accuracy, resources, compile_ms)

}  // namespace fcsa::tuner

namespace fcsa::runner {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Binary, path, symbols)
// Without the binary: the compile process writes that to the cache itself.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CompileResult, ok, log, message, out_of_memory, symbols, resources,
                                   warnings)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeviceReport, info, usable, missing)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Inventory::Library, name, version, path, problem)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Inventory, devices, libraries)

}  // namespace fcsa::runner
