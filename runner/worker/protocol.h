// Messages between the processes: JSON values in the CBOR encoding (so NaN, infinity and stray bytes
// survive), one per frame.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "runner/device/compiler.h"
#include "runner/device/device.h"
#include "runner/process/file_descriptor.h"
#include "runner/process/frame.h"
#include "runner/worker/job.h"

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

void to_json(nlohmann::json& json, Values values);
void from_json(const nlohmann::json& json, Values& values);
void to_json(nlohmann::json& json, Placement placement);
void from_json(const nlohmann::json& json, Placement& placement);

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Binary, path, symbols)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Check, problem, plan, values, placement, seed, reference_flops, launches)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MeasurementOptions, cache, target_relative_interval, min_samples,
                                   max_samples, max_seconds, min_sample_ms, launches)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CandidateJob, binary, checks, target)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Job, candidates, measurement, verify, measure, report_every_sample)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(JobProgress, candidate, stage)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(JobFailure, candidate, message)
// Without the binary: the compile process writes that to the cache itself.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CompileResult, ok, log, message, out_of_memory, symbols, resources,
                                   warnings)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeviceReport, info, usable, missing)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Inventory::Library, name, version, path, problem)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Inventory, devices, libraries)

std::string encode(const nlohmann::json& message);
nlohmann::json decode(std::string_view payload);  // throws ProtocolError

// Replies are an object with one member that names what it is: {"result": ...}, {"error": "what was wrong"}.
// The member as a T. Throws ProtocolError naming the member when it is absent or of another shape.
template <typename T>
T member(const nlohmann::json& message, const char* name) {
  try {
    return message.at(name).get<T>();
  } catch (const std::exception& error) {
    throw ProtocolError(std::string("a message has no usable member \"") + name + "\": " + error.what());
  }
}

// The child's end of the channel; blocking.
class Channel {
 public:
  // Takes over the descriptor. Throws std::system_error when it isn't open.
  explicit Channel(int fd);

  std::optional<nlohmann::json> receive();   // nothing when the parent closed its end
  void send(const nlohmann::json& message);  // throws std::system_error when the parent is gone

 private:
  FileDescriptor socket_;
  FrameReader reader_;
};

}  // namespace fcsa::runner
