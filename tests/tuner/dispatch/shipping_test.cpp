#include "tuner/dispatch/shipping.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "tests/tuner/trials/store_records.h"
#include "tuner/dispatch/dispatch.h"
#include "tuner/trials/tuned_data.h"

namespace fcsa::tuner {
namespace {

const std::string kA = "simt.forward{warps=2}", kB = "simt.forward{warps=8}", kC = "simt.forward{unroll=1}",
                  kD = "simt.forward{unroll=4}", kUnfused = "unfused_cuda.forward{}";

kernels::Problem problem_of_length(int length) {
  kernels::Problem problem;
  problem.nq = problem.nk = length;
  return problem;
}

// Trials of one GPU, each a second later than the one before.
struct History {
  Session session = make_session("s1");
  std::vector<StoredTrial> trials;

  StoredTrial& add(int length, const std::string& configuration, double median_ms,
                   const std::string& race = "") {
    StoredTrial stored{
        .id = static_cast<std::int64_t>(trials.size()) + 1, .session = session, .trial = make_trial()};
    stored.trial.problem = problem_of_length(length);
    stored.trial.configuration = configuration;
    stored.trial.source_hash = "hash";
    stored.trial.finished_at =
        fmt::format("2026-01-01T00:{:02}:{:02}Z", trials.size() / 60, trials.size() % 60);
    stored.trial.phase = race.empty() ? Phase::search : Phase::confirm;
    stored.trial.race_id = race;
    stored.trial.evaluation.measurement.median_ms = median_ms;
    trials.push_back(stored);
    return trials.back();
  }
  std::vector<StoredTrial> shipped() const { return trials_to_ship(trials, session.device); }
};

std::set<std::string> configurations_of(const std::vector<StoredTrial>& trials, int length) {
  std::set<std::string> configurations;
  for (const auto& stored : trials)
    if (stored.trial.problem.nq == length) configurations.insert(stored.trial.configuration);
  return configurations;
}

std::string message_of(const std::string& text) {
  try {
    trials_of_tuned_data(text);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

TEST(TunedData, ReadsBackExactlyWhatWasWritten) {
  History history;
  history.add(512, kA, 0.1);
  history.session = make_session("s2", "GPU-2");
  history.add(1024, kB, 1.0 / 3, "race").trial.evaluation.measurement.samples_ms = {1.0 / 3, 2e-300};
  const auto back = trials_of_tuned_data(to_tuned_data(history.trials));
  ASSERT_EQ(back.size(), 2U);
  for (std::size_t i = 0; i < back.size(); ++i) {
    EXPECT_EQ(all_fields(back[i].trial), all_fields(history.trials[i].trial));
    EXPECT_EQ(all_fields(back[i].session), all_fields(history.trials[i].session));
  }
}

TEST(TunedData, HasALineForEachTrial) {
  History history;
  for (const int length : {512, 1024, 2048}) history.add(length, kA, 1);
  const std::string text = to_tuned_data(history.trials);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3 + 1 + 5);
}

TEST(TunedData, SaysWhatItCannotRead) {
  History history;
  history.add(512, kA, 1);
  const std::string good = to_tuned_data(history.trials);
  const auto with = [&](const std::string& part, const std::string& other) {
    std::string text = good;
    text.replace(text.find(part), part.size(), other);
    return message_of(text);
  };
  EXPECT_EQ(message_of(good), "");
  EXPECT_NE(message_of("{").find("not a JSON object"), std::string::npos);
  EXPECT_NE(message_of("{\"format\": \"another\"}").find("not a JSON object whose"), std::string::npos);
  EXPECT_NE(with("\"version\": 1", "\"version\": 2").find("upgrade fcsa"), std::string::npos);
  EXPECT_NE(with("\"session\":0", "\"session\":7").find("trials[0]: there is no session 7"),
            std::string::npos);
  EXPECT_NE(with("\"kind\":\"cuda\"", "\"kind\":\"abacus\"").find("sessions[0]: \"kind\""),
            std::string::npos);
  EXPECT_NE(with("\"median_ms\":1.0", "\"median_ms\":\"1\"").find("\"median_ms\""), std::string::npos);
  EXPECT_NE(with("forward f32", "sideways f32").find("trials[0]"), std::string::npos);
}

TEST(Shipping, KeepsTheLatestRaceAndWhatTheTableChoosesElsewhere) {
  History history;
  for (const auto& configuration : {kA, kB, kC, kD}) history.add(512, configuration, 3);
  for (const auto& configuration : {kA, kB, kC, kD}) history.add(1024, configuration, 3);
  history.add(512, kA, 1, "race1");
  history.add(512, kC, 2, "race1");
  history.add(512, kUnfused, 9, "race1");
  history.add(1024, kB, 1, "race2");
  history.add(1024, kC, 2, "race2");
  const auto shipped = history.shipped();
  EXPECT_EQ(configurations_of(shipped, 512), (std::set<std::string>{kA, kB, kC}));
  EXPECT_EQ(configurations_of(shipped, 1024), (std::set<std::string>{kA, kB, kC}));
}

TEST(Shipping, LeavesKernelsOutThatTheTableNeverChooses) {
  const std::string other = "mma.forward{}";
  History history;
  history.add(512, kA, 1, "race");
  history.add(512, kC, 2, "race");
  history.add(512, other, 3, "race");
  EXPECT_EQ(configurations_of(history.shipped(), 512), (std::set<std::string>{kA, kC}));
  history.add(1024, other, 1, "other race");
  history.add(1024, kC, 2, "other race");
  EXPECT_EQ(configurations_of(history.shipped(), 512), (std::set<std::string>{kA, kC, other}));
}

TEST(Shipping, GivesTheTableThatAllTrialsGive) {
  History history;
  for (const int length : {256, 512, 1024, 2048}) {
    int i = 0;
    for (const auto& configuration : {kA, kB, kC, kD})
      history.add(length, configuration, 1 + 0.3 * ((i++ + length / 256) % 4));
  }
  history.add(512, kA, 1, "race1");
  history.add(512, kC, 1.5, "race1");
  const auto all = dispatch_table_for(history.trials, history.session.device);
  const auto few =
      dispatch_table_for(trials_of_tuned_data(to_tuned_data(history.shipped())), history.session.device);
  ASSERT_EQ(few.classes.size(), all.classes.size());
  EXPECT_EQ(few.classes[0].configurations, all.classes[0].configurations);
  ASSERT_EQ(few.classes[0].entries.size(), all.classes[0].entries.size());
  for (std::size_t i = 0; i < all.classes[0].entries.size(); ++i) {
    EXPECT_EQ(few.classes[0].entries[i].choice, all.classes[0].entries[i].choice);
    EXPECT_EQ(few.classes[0].entries[i].best_ms, all.classes[0].entries[i].best_ms);
  }
}

TEST(Shipping, KeepsOtherModelsAndFailuresOut) {
  History history;
  history.add(512, kA, 1);
  history.add(512, kB, 1).trial.evaluation.status = Status::crashed;
  history.session = make_session("s2", "GPU-2");
  history.session.device.name = "another model";
  history.add(512, kC, 1);
  history.session = make_session("s1");
  EXPECT_EQ(configurations_of(history.shipped(), 512), std::set<std::string>{kA});
}

TEST(Shipping, KeepsFewSamplesAndTheIntervalOfAll) {
  History history;
  auto& measurement = history.add(512, kA, 1).trial.evaluation.measurement;
  measurement.samples_ms.assign(200, 1.0);
  measurement.ci_low_ms = 0.5;
  const auto kept = history.shipped().front().trial.evaluation.measurement;
  EXPECT_EQ(kept.samples_ms.size(), 5U);
  EXPECT_EQ(kept.ci_low_ms, 0.5);
}

TEST(Shipping, KeepsHowItWasMeasuredButNotWhere) {
  History history;
  history.session.command =
      "/home/me/bin/fcsa tune --db '/home/me/my data/h100.db' --seq 512 --cache-dir /tmp/me";
  history.add(512, kA, 1);
  const auto session = history.shipped().front().session;
  EXPECT_EQ(session.command, "fcsa tune --db FILE --seq 512 --cache-dir FOLDER");
  EXPECT_EQ(session.host, "");
  EXPECT_EQ(session.device.uuid, "GPU-1");
}

TEST(Shipping, OfADeviceWithoutTrialsIsRefused) {
  History history;
  EXPECT_THROW(history.shipped(), std::invalid_argument);
}

}  // namespace
}  // namespace fcsa::tuner
