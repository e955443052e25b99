#include "runner/worker/worker_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "runner/process/channel.h"
#include "runner/worker/protocol.h"
#include "tuner/trials/evaluator.h"

namespace fcsa::runner {
namespace {

using nlohmann::json;
using tuner::Status;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// Opening a device: the CUDA driver takes seconds on a host with many GPUs.
constexpr Seconds kStartLimit{120};
constexpr int kStartAttempts = 3;
constexpr auto kInterruptCheck = std::chrono::milliseconds(100);

SteadyTime after(Seconds seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(seconds);
}

Job without_others(const Job& job, const std::vector<std::size_t>& kept, bool report_every_sample) {
  Job part{.candidates = {},
           .measurement = job.measurement,
           .verify = job.verify,
           .measure = job.measure,
           .report_every_sample = report_every_sample};
  for (const auto i : kept) part.candidates.push_back(job.candidates[i]);
  return part;
}

}  // namespace

WorkerClient::WorkerClient(std::string executable, std::string device, std::function<bool()> interrupted)
    : executable_(std::move(executable)), device_(std::move(device)), interrupted_(std::move(interrupted)) {}

Received WorkerClient::receive(SteadyTime deadline) {
  for (;;) {
    if (interrupted_()) {
      child_.reset();
      throw tuner::Interrupted("stopped before its result was there");
    }
    auto received = child_->receive(std::min<SteadyTime>(deadline, Clock::now() + kInterruptCheck));
    if (received.kind != Received::Kind::timed_out || Clock::now() >= deadline) return received;
  }
}

void WorkerClient::start() {
  if (child_ && child_->running()) return;
  child_ = std::make_unique<ChildProcess>(ChildOptions{.command = {executable_, "__worker", device_}});
}

kernels::DeviceInfo WorkerClient::describe() {
  start();
  const SteadyTime deadline = after(kStartLimit);
  const bool sent = child_->send(encode({{"describe", true}}), deadline);
  const Received received = receive(deadline);
  if (received.kind == Received::Kind::frame) {
    const json message = decode(received.frame);
    if (message.contains("error")) throw std::runtime_error(member<std::string>(message, "error"));
    return member<kernels::DeviceInfo>(message, "device");
  }
  child_->kill();
  throw std::runtime_error(fmt::format("the worker for {} {}: {}", device_,
                                       sent ? "did not say what the device is" : "took no message",
                                       child_->report()));
}

std::vector<tuner::Evaluation> WorkerClient::run(const Job& job, const StageLimits& limits) {
  std::vector<tuner::Evaluation> evaluations(job.candidates.size());
  std::vector<std::size_t> left(job.candidates.size());
  std::iota(left.begin(), left.end(), 0);
  bool report_every_sample = job.report_every_sample;
  int failed_starts = 0;
  bool forgiven = false;
  while (!left.empty()) {
    Attempt tried = attempt(without_others(job, left, report_every_sample), limits);
    if (tried.status == Status::ok) {
      for (std::size_t i = 0; i < left.size(); ++i) evaluations[left[i]] = std::move(tried.evaluations[i]);
      break;
    }
    if (!tried.last) {
      if (++failed_starts >= kStartAttempts)
        throw std::runtime_error(fmt::format("the worker for {} doesn't start: {}", device_, tried.message));
      continue;
    }
    if (tried.killed_from_outside && !std::exchange(forgiven, true)) continue;
    // Measured interleaved, the latest announcement names a suspect only when every sample is announced.
    const bool certain = left.size() == 1 || tried.last->stage != "measuring" || report_every_sample;
    if (certain) {
      auto& guilty = evaluations[left.at(tried.last->candidate)];
      guilty.status = tried.status;
      guilty.message = tried.message;
      left.erase(left.begin() + static_cast<std::ptrdiff_t>(tried.last->candidate));
    } else {
      report_every_sample = true;
    }
  }
  return evaluations;
}

WorkerClient::Attempt WorkerClient::attempt(const Job& job, const StageLimits& limits) {
  start();
  std::optional<JobProgress> last;
  if (!child_->send(encode({{"job", job}}), after(kStartLimit))) return ended(last);
  for (;;) {
    const Seconds limit = !last                        ? kStartLimit
                          : last->stage == "measuring" ? limits.measuring
                                                       : limits.verifying;
    const Received received = receive(after(limit));
    if (received.kind == Received::Kind::ended) return ended(last);
    if (received.kind == Received::Kind::timed_out) {
      child_.reset();
      return {{},
              Status::timed_out,
              fmt::format("stopped after {:.3g} s of {}", limit.count(), last ? last->stage : "starting"),
              last};
    }
    const json message = decode(received.frame);
    if (message.contains("progress")) {
      last = member<JobProgress>(message, "progress");
    } else if (message.contains("lost")) {
      const auto failure = member<JobFailure>(message, "lost");
      child_.reset();
      return {{}, Status::launch_failed, failure.message, JobProgress{failure.candidate, "verifying"}};
    } else if (message.contains("error")) {
      child_.reset();
      throw std::runtime_error(member<std::string>(message, "error"));
    } else {
      auto evaluations = member<std::vector<tuner::Evaluation>>(message, "evaluations");
      if (evaluations.size() != job.candidates.size()) {
        child_.reset();
        throw std::runtime_error(fmt::format("the worker for {} answered for {} candidates, not for {}",
                                             device_, evaluations.size(), job.candidates.size()));
      }
      return {std::move(evaluations), Status::ok, {}, last};
    }
  }
}

WorkerClient::Attempt WorkerClient::ended(std::optional<JobProgress> last) {
  child_->kill();
  std::string message =
      fmt::format("while {}, the worker was {}", last ? last->stage : "starting", child_->report());
  const bool killed_from_outside = child_->killed_from_outside();
  child_.reset();
  return {{}, Status::crashed, std::move(message), std::move(last), killed_from_outside};
}

}  // namespace fcsa::runner
