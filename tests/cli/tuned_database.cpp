#include "tests/cli/tuned_database.h"

#include "tuner/store.h"

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

void add_tuning(const std::filesystem::path& db, const kernels::DeviceInfo& device, int length,
                const std::string& when) {
  tuner::Session session;
  session.id = device.uuid + when;
  session.started_at = when;
  session.command = "fcsa tune --seq " + std::to_string(length);
  session.device = device;
  tuner::Store store(db, tuner::Store::Mode::read_write);
  store.begin_session(session);
  tuner::Trial trial;
  trial.problem.nq = trial.problem.nk = length;
  trial.source_hash = "a hash of other sources";
  trial.finished_at = when;
  for (const auto& [configuration, ms] :
       {std::pair{"simt.forward{}", 2.0}, {"simt.forward{unroll=1}", 1.0}}) {
    trial.configuration = configuration;
    trial.evaluation.measurement = {
        .samples_ms = {ms}, .median_ms = ms, .ci_low_ms = 0.9 * ms, .ci_high_ms = 1.1 * ms, .clocks = {}};
    store.record(trial);
  }
}

}  // namespace fcsa::cli
