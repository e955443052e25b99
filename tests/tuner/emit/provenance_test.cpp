#include "tuner/emit/provenance.h"

#include <gtest/gtest.h>

namespace fcsa::tuner {
namespace {

StoredTrial trial_at(const std::string& when, const std::string& uuid = "gpu-1") {
  StoredTrial stored;
  stored.session.device.name = "GPU";
  stored.session.device.uuid = uuid;
  stored.session.command = "fcsa tune on " + uuid;
  stored.trial.configuration = "simt.forward{}";
  stored.trial.finished_at = when;
  stored.trial.source_hash = "source of " + when;
  stored.trial.evaluation.measurement.median_ms = 1.0;
  return stored;
}

Provenance of(const std::vector<StoredTrial>& trials) {
  DispatchTable table;
  table.device = trials.front().session.device;
  return provenance_of(table, trials);
}

const std::pair<std::string, std::string> kClass = {kernels::class_text({}), "simt.forward{}"};
const std::pair<std::string, std::string> kProblem = {kernels::to_text(kernels::Problem{}), "simt.forward{}"};

TEST(EmitProvenance, SpansTheTrialsOfAllDevicesOfTheModel) {
  auto failed = trial_at("2026-03", "gpu-2");
  failed.trial.evaluation.status = Status::compile_failed;
  auto other_model = trial_at("2026-09");
  other_model.session.device.name = "Other";
  const Provenance provenance = of({trial_at("2026-02"), trial_at("2026-01"), failed, other_model});
  EXPECT_EQ(provenance.devices, 2u);
  EXPECT_EQ(provenance.first_at, "2026-01");
  EXPECT_EQ(provenance.last_at, "2026-03");
  EXPECT_EQ(provenance.trials, 3u);
  EXPECT_EQ(provenance.timed, 2u);
  EXPECT_EQ(provenance.commands, (std::vector<std::string>{"fcsa tune on gpu-1", "fcsa tune on gpu-2"}));
}

TEST(EmitProvenance, HasTheSourceOfTheLatestTrial) {
  EXPECT_EQ(of({trial_at("2026-02"), trial_at("2026-01")}).source_hashes.at(kClass), "source of 2026-02");
}

TEST(EmitProvenance, PrefersTheMeasurementOfARaceToALaterSearch) {
  auto race = trial_at("2026-01");
  race.trial.source_hash = trial_at("2026-03").trial.source_hash;
  race.trial.phase = Phase::confirm;
  race.trial.evaluation.measurement.median_ms = 2.0;
  auto later_race = race;
  later_race.trial.finished_at = "2026-02";
  later_race.trial.evaluation.measurement.median_ms = 3.0;
  EXPECT_EQ(of({race, trial_at("2026-03")}).measurements.at(kProblem).measurement.median_ms, 2.0);
  EXPECT_EQ(of({race, later_race}).measurements.at(kProblem).measurement.median_ms, 3.0);
  EXPECT_EQ(of({trial_at("2026-03")}).measurements.at(kProblem).phase, Phase::search);
}

TEST(EmitProvenance, HasTimesAndSourcesOfTheSameTrialsWhateverARefreshMeasuredLater) {
  auto refresh = trial_at("2026-05");
  refresh.trial.phase = Phase::refresh;
  refresh.trial.evaluation.measurement.median_ms = 9.0;
  const Provenance provenance = of({trial_at("2026-03"), refresh});
  EXPECT_EQ(provenance.source_hashes.at(kClass), "source of 2026-03");
  EXPECT_EQ(provenance.measurements.at(kProblem).measurement.median_ms, 1.0);
}

}  // namespace
}  // namespace fcsa::tuner
