// The fields of every stored record, each named once: columns of the tables, of the CSV export, and what the
// content hash covers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tuner/trials/trial.h"

namespace fcsa::tuner {

// visit(name, field) for every field, in a fixed order. Self is the record or the const record.
template <typename Self, typename Visit>
void visit_device(Self& device, Visit&& visit) {
  visit("kind", device.target.kind);
  visit("name", device.name);
  visit("uuid", device.uuid);
  visit("ordinal", device.index);
  visit("driver", device.driver);
  visit("compiler", device.compiler);
  visit("arch", device.target.arch);
  visit("compute_capability", device.target.compute_capability);
  visit("multiprocessors", device.target.multiprocessors);
  visit("max_threads_per_block", device.target.max_threads_per_block);
  visit("smem_per_block_bytes", device.target.smem_per_block_bytes);
  visit("l2_bytes", device.target.l2_bytes);
  visit("memory_bytes", device.target.memory_bytes);
}

// Without the device.
template <typename Self, typename Visit>
void visit_session(Self& session, Visit&& visit) {
  visit("uid", session.id);
  visit("started_at", session.started_at);
  visit("command", session.command);
  visit("host", session.host);
  visit("fcsa_version", session.fcsa_version);
  visit("seed", session.seed);
}

// As kernels::visit_problem() lists them.
template <typename Self, typename Visit>
void visit_problem_fields(Self& problem, Visit&& visit) {
  kernels::visit_problem([&](const auto& field, auto& value) { visit(field.name, value); }, problem);
}

// Without problem and configuration.
template <typename Self, typename Visit>
void visit_trial(Self& trial, Visit&& visit) {
  auto& evaluation = trial.evaluation;
  auto& measurement = evaluation.measurement;
  visit("source_hash", trial.source_hash);
  visit("phase", trial.phase);
  visit("race_id", trial.race_id);
  visit("finished_at", trial.finished_at);
  visit("input_seed", trial.seed);
  visit("status", evaluation.status);
  visit("message", evaluation.message);
  visit("cache", measurement.cache);
  visit("median_ms", measurement.median_ms);
  visit("ci_low_ms", measurement.ci_low_ms);
  visit("ci_high_ms", measurement.ci_high_ms);
  visit("launches_per_sample", measurement.launches_per_sample);
  visit("samples_ms", measurement.samples_ms);
  visit("peak_memory_bytes", measurement.peak_memory_bytes);
  visit("extra_memory_bytes", measurement.extra_memory_bytes);
  visit("sm_mhz", measurement.clocks.sm_mhz);
  visit("memory_mhz", measurement.clocks.memory_mhz);
  visit("temperature_c", measurement.clocks.temperature_c);
  visit("power_w", measurement.clocks.power_w);
  visit("throttle_reasons", measurement.clocks.throttle_reasons);
  visit("error", evaluation.accuracy.error);
  visit("tolerance", evaluation.accuracy.tolerance);
  visit("registers", evaluation.resources.registers);
  visit("spill_bytes", evaluation.resources.spill_bytes);
  visit("stack_bytes", evaluation.resources.stack_bytes);
  visit("smem_bytes", evaluation.resources.smem_bytes);
  visit("compile_ms", evaluation.compile_ms);
}

std::string_view enum_text(kernels::DeviceKind value);
std::string_view enum_text(kernels::Op value);
std::string_view enum_text(kernels::DType value);
std::string_view enum_text(kernels::Layout value);
std::string_view enum_text(kernels::Bias value);
std::string_view enum_text(Status value);
std::string_view enum_text(Phase value);
std::string_view enum_text(CacheState value);

// Throws std::invalid_argument for a word that isn't one of the enumeration's.
template <typename Enum>
Enum enum_from_text(std::string_view text);

// Text of any field: numbers so that they read back exactly, booleans as 0 and 1, lists joined by spaces.
std::string field_text(const std::string& value);
std::string field_text(bool value);
std::string field_text(int value);
std::string field_text(std::size_t value);
std::string field_text(float value);
std::string field_text(double value);
std::string field_text(const kernels::OptionalFloat& value);
std::string field_text(const std::vector<double>& values);
template <typename Enum>
requires std::is_enum_v<Enum> std::string field_text(Enum value) {
  return std::string(enum_text(value));
}

}  // namespace fcsa::tuner
