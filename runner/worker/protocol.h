// Jobs and what is said of them, as JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "runner/device/json.h"
#include "runner/worker/job.h"

namespace fcsa::runner {

void to_json(nlohmann::json& json, Values values);
void from_json(const nlohmann::json& json, Values& values);
void to_json(nlohmann::json& json, Placement placement);
void from_json(const nlohmann::json& json, Placement& placement);

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Check, problem, plan, values, placement, seed, reference_flops, launches,
                                   key_lengths)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MeasurementOptions, cache, target_relative_interval, min_samples,
                                   max_samples, max_seconds, min_sample_ms, launches)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CandidateJob, binary, small_checks, full_check)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Job, candidates, measurement, verify, measure, report_every_sample)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(JobProgress, candidate, stage)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(JobFailure, candidate, message)

}  // namespace fcsa::runner
