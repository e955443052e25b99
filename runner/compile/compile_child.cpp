#include "runner/compile/compile_child.h"
#include "runner/process/channel.h"

#include <algorithm>
#include <chrono>
#include <csignal>

namespace fcsa::runner {
namespace {

using Clock = std::chrono::steady_clock;

// How often a wait looks whether it should stop.
constexpr auto kStopCheck = std::chrono::milliseconds(100);

}  // namespace

CompileChild::Answer CompileChild::ask(const nlohmann::json& question) {
  Answer answer = ask_once(question);
  return answer.killed_from_outside ? ask_once(question) : answer;
}

CompileChild::Answer CompileChild::ask_once(const nlohmann::json& question) {
  start();
  const SteadyTime deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(options_.deadline);
  auto received = child_->send(encode(question), deadline) ? receive(deadline) : Received{};
  Answer answer;
  answer.kind = received.kind;
  try {
    if (received.kind == Received::Kind::frame) answer.message = decode(received.frame);
  } catch (const ProtocolError&) {
    answer.kind = Received::Kind::ended;
  }
  if (answer.kind != Received::Kind::frame) {
    child_->kill();
    answer.report = child_->report();
    answer.killed_from_outside = child_->killed_from_outside();
    end();
  }
  return answer;
}

void CompileChild::start() {
  if (child_ && child_->running()) return;
  end();
  directory_ = std::make_unique<TemporaryDirectory>();
  // With SIGTERM the child takes the compiler that it started along; SIGKILL would leave it behind.
  child_ = std::make_unique<ChildProcess>(
      ChildOptions{.command = {options_.executable, "__compile", options_.kind},
                   .environment = {"TMPDIR=" + directory_->path().string()},
                   .death_signal = SIGTERM});
}

void CompileChild::end() {
  child_.reset();
  directory_.reset();
}

Received CompileChild::receive(SteadyTime deadline) {
  for (;;) {
    auto received = child_->receive(std::min<SteadyTime>(deadline, Clock::now() + kStopCheck));
    if (received.kind != Received::Kind::timed_out || Clock::now() >= deadline || stopping_())
      return received;
  }
}

}  // namespace fcsa::runner
