// The parent's side of a worker, against scripts that behave badly.
#include <gtest/gtest.h>

#include "runner/process/channel.h"
#include "runner/worker/protocol.h"
#include "runner/worker/worker_client.h"
#include "tests/runner/evaluator_fixture.h"

namespace fcsa::runner {
namespace {

using namespace std::chrono_literals;
using tuner::Status;

class WorkerClientTest : public EvaluatorTest {
 protected:
  // Says what `messages` are, in order, after every job; and counts its starts.
  std::string script(const std::vector<nlohmann::json>& messages, const std::string& end) const {
    std::string body = "echo start >> " + file("starts").string() + "\n";
    // To end before the job has arrived would be never to have started.
    if (!messages.empty()) body += "head -c 1 <&3 > " + file("first_byte").string() + "\n";
    for (std::size_t i = 0; i < messages.size(); ++i) {
      const auto path = file("message" + std::to_string(i));
      const std::string payload = encode(messages[i]);
      std::ofstream(path, std::ios::binary) << frame_header(payload) << payload;
      body += "cat " + path.string() + " >&3\n";
    }
    return write_script(file("worker"), body + end);
  }

  std::size_t starts() const {
    const std::string text = text_of(file("starts"));
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  static Job job_of(std::size_t candidates) {
    Job job;
    job.candidates.resize(candidates);
    return job;
  }
};

TEST_F(WorkerClientTest, GivesUpOnAWorkerThatNeverStarts) {
  WorkerClient client(script({}, "echo no luck; exit 4"), "cpu");
  try {
    client.run(job_of(1), {});
    FAIL() << "went on";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("exited with status 4"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("no luck"), std::string::npos) << error.what();
  }
  EXPECT_EQ(starts(), 3U);
}

TEST_F(WorkerClientTest, PassesOnWhyTheDeviceCannotBeOpened) {
  WorkerClient client(script({{{"error", "no such device"}}}, "sleep 1"), "cuda:7");
  try {
    client.describe();
    FAIL() << "went on";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "no such device");
  }
}

TEST_F(WorkerClientTest, RunsTheOthersAgainWithoutTheCandidateThatWasBeingVerified) {
  std::vector<tuner::Evaluation> two(2);
  two[0].message = "first";
  two[1].message = "third";
  script({{{"progress", JobProgress{1, "verifying"}}}, {{"evaluations", two}}}, "");
  // One message for each start.
  const std::string one_each = "echo start >> " + file("starts").string() + "; head -c 1 <&3 > " +
                               file("first_byte").string() + "; cat " + file("message").string() +
                               "$(($(wc -l < " + file("starts").string() + ") - 1)) >&3; exit 3";
  WorkerClient client(write_script(file("worker"), one_each), "cpu");
  const auto evaluations = client.run(job_of(3), {});
  EXPECT_EQ(evaluations.at(0).message, "first");
  EXPECT_EQ(evaluations.at(1).status, Status::crashed);
  EXPECT_EQ(evaluations.at(2).message, "third");
  EXPECT_EQ(starts(), 2U);
}

TEST_F(WorkerClientTest, RefusesAnAnswerForAnotherNumberOfCandidates) {
  WorkerClient client(script({{{"evaluations", std::vector<tuner::Evaluation>(2)}}}, "sleep 1"), "cpu");
  try {
    client.run(job_of(3), {});
    FAIL() << "took it";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "the worker for cpu answered for 2 candidates, not for 3");
  }
}

TEST_F(WorkerClientTest, TakesADeviceThatWasLostForAFailedLaunch) {
  WorkerClient client(script({{{"progress", JobProgress{0, "verifying"}}},
                              {{"lost", JobFailure{0, "CUDA_ERROR_ILLEGAL_ADDRESS"}}}},
                             "exit 0"),
                      "cpu");
  const auto evaluations = client.run(job_of(1), {});
  EXPECT_EQ(evaluations.at(0).status, Status::launch_failed);
  EXPECT_EQ(evaluations[0].message, "CUDA_ERROR_ILLEGAL_ADDRESS");
}

TEST_F(WorkerClientTest, GivesEveryStageItsOwnTime) {
  WorkerClient client(script({{{"progress", JobProgress{0, "measuring"}}}}, "sleep 100"), "cpu");
  const auto evaluations = client.run(job_of(1), {.verifying = 100s, .measuring = 200ms});
  EXPECT_EQ(evaluations.at(0).status, Status::timed_out);
  EXPECT_NE(evaluations[0].message.find("measuring"), std::string::npos) << evaluations[0].message;
}

TEST_F(WorkerClientTest, AsksForEverySampleWhenItCannotTellWhoDidIt) {
  // Blamed in the first attempt of two contenders is nobody; in the second the one named, and then the one
  // left.
  WorkerClient client(script({{{"progress", JobProgress{0, "measuring"}}}}, "exit 5"), "cpu");
  const auto evaluations = client.run(job_of(2), {});
  EXPECT_EQ(starts(), 3U);
  EXPECT_EQ(evaluations.at(0).status, Status::crashed);
  EXPECT_EQ(evaluations.at(1).status, Status::crashed);
}

TEST_F(WorkerClientTest, TreatsNonsenseFromAWorkerAsItsDeath) {
  WorkerClient client(
      script({{{"progress", JobProgress{0, "verifying"}}}}, "printf 'nonsense' >&3; sleep 100"), "cpu");
  const auto evaluations = client.run(job_of(1), {});
  EXPECT_EQ(evaluations.at(0).status, Status::crashed);
  EXPECT_NE(evaluations[0].message.find("does not begin with"), std::string::npos) << evaluations[0].message;
}

}  // namespace
}  // namespace fcsa::runner
