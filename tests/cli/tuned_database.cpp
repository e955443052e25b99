#include "tests/cli/tuned_database.h"

#include "tuner/trials/store.h"

namespace fcsa::cli {

kernels::DeviceInfo gpu(const std::string& name, const std::string& uuid, const std::string& arch) {
  kernels::DeviceInfo device;
  device.target = kernels::target_for_arch(arch);
  device.name = name;
  device.uuid = uuid;
  device.driver = "580.0 (CUDA 13.0)";
  device.compiler = "NVRTC 13.0";
  return device;
}

namespace {

tuner::Session session_on(const kernels::DeviceInfo& device, const std::string& when,
                          const std::string& command) {
  tuner::Session session;
  session.id = device.uuid + when;
  session.started_at = when;
  session.command = command;
  session.device = device;
  return session;
}

}  // namespace

void add_tuning(const std::filesystem::path& db, const kernels::DeviceInfo& device, int length,
                const std::string& when) {
  tuner::Store store(db, tuner::Store::Mode::read_write);
  store.begin_session(session_on(device, when, "fcsa tune --seq " + std::to_string(length)));
  tuner::Trial trial;
  trial.problem.nq = trial.problem.nk = length;
  trial.source_hash = "a hash of other sources";
  trial.finished_at = when;
  for (const auto& [configuration, ms] :
       {std::pair{"simt.forward{}", 2.0}, {"simt.forward{unroll=1}", 1.0}}) {
    trial.configuration = configuration;
    auto& measurement = trial.evaluation.measurement;
    measurement.samples_ms = {ms};
    measurement.median_ms = ms, measurement.ci_low_ms = 0.9 * ms, measurement.ci_high_ms = 1.1 * ms;
    store.record(trial);
  }
}

void add_failure(const std::filesystem::path& db, const kernels::DeviceInfo& device) {
  tuner::Store store(db, tuner::Store::Mode::read_write);
  store.begin_session(session_on(device, "2026-01-02T12:00:00Z", "fcsa tune"));
  tuner::Trial trial;
  trial.configuration = "simt.forward{}";
  trial.evaluation.status = tuner::Status::launch_failed;
  store.record(trial);
}

}  // namespace fcsa::cli
