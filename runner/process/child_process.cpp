#include "runner/process/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>

#include "runner/process/exec_texts.h"

namespace fcsa::runner {
namespace {

using namespace std::chrono_literals;

// A child that closed its channel is given this long to end by itself before it is killed.
constexpr auto kEndingGrace = 2s;
// A child that ended is noticed after so long even when its descendants keep the channel open.
constexpr int kLookAfterMs = 200;
// A process stuck in a driver may ignore even SIGKILL for a while; it must not take the parent with it.
constexpr auto kKillPatience = 10s;

[[noreturn]] void throw_errno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

struct Pipe {
  FileDescriptor read, write;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("cannot make a pipe");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

Pipe make_socket_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    throw_errno("cannot make a socket");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

int timeout_ms(SteadyTime deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<long long>(left.count(), 0, 1'000'000));
}

bool passed(SteadyTime deadline) {
  return std::chrono::steady_clock::now() >= deadline;
}

// What the forked child needs before exec, prepared by the parent: only async-signal-safe calls are allowed
// there.
struct ExecPlan {
  char* const* argv = nullptr;
  char* const* environment = nullptr;
  int channel = -1, output = -1, error_report = -1;
  int death_signal = SIGKILL;
  pid_t parent = -1;
};

[[noreturn]] void report_and_exit(int error_report) {
  const int error = errno;
  [[maybe_unused]] const auto written = ::write(error_report, &error, sizeof error);
  ::_exit(127);
}

// Duplicates to `to`, open across exec; dup2 onto itself would leave close-on-exec set.
bool place(int from, int to) {
  if (from != to) return ::dup2(from, to) >= 0;
  return ::fcntl(to, F_SETFD, 0) == 0;
}

[[noreturn]] void run_child(const ExecPlan& plan) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, plan.death_signal);
  if (::getppid() != plan.parent) ::_exit(127);  // the parent ended before the line above took effect
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD}) ::signal(signal, SIG_DFL);
  // Out of the way first: any of them may sit on one of the numbers 0 to 3.
  const int channel = ::fcntl(plan.channel, F_DUPFD_CLOEXEC, 10);
  const int output = ::fcntl(plan.output, F_DUPFD_CLOEXEC, 10);
  const int error_report = ::fcntl(plan.error_report, F_DUPFD_CLOEXEC, 10);
  const int empty = ::open("/dev/null", O_RDONLY);
  if (channel < 0 || output < 0 || error_report < 0 || empty < 0) report_and_exit(plan.error_report);
  if (!place(empty, STDIN_FILENO) || !place(output, STDOUT_FILENO) || !place(output, STDERR_FILENO) ||
      !place(channel, kChannelFd))
    report_and_exit(error_report);
  // What the program that uses us left open; kernels before 5.11 can't, then it is inherited.
  ::close_range(kChannelFd + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  ::execve(plan.argv[0], plan.argv, plan.environment);
  report_and_exit(error_report);
}

std::string describe_status(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    const char* name = ::strsignal(signal);
    return fmt::format("killed by signal {} ({})", signal, name != nullptr ? name : "unknown");
  }
  return fmt::format("exited with status {}", WEXITSTATUS(status));
}

}  // namespace

ChildProcess::ChildProcess(ChildOptions options) : options_(std::move(options)) {
  spawn();
}

ChildProcess::~ChildProcess() {
  kill();
}

void ChildProcess::spawn() {
  const std::vector<char*> argv = pointers_to(options_.command);
  std::vector<std::string> variables = environment_with(options_.environment);
  const std::vector<char*> environment = pointers_to(variables);
  Pipe channel = make_socket_pair();
  Pipe output = make_pipe();
  Pipe error = make_pipe();
  const ExecPlan plan{.argv = argv.data(),
                      .environment = environment.data(),
                      .channel = channel.write.get(),
                      .output = output.write.get(),
                      .error_report = error.write.get(),
                      .death_signal = options_.death_signal,
                      .parent = ::getpid()};
  pid_ = ::fork();
  if (pid_ < 0) throw_errno("cannot start a process");
  if (pid_ == 0) run_child(plan);
  ::setpgid(pid_, pid_);
  channel.write.close();
  output.write.close();
  error.write.close();
  socket_ = std::move(channel.read);
  output_pipe_ = std::move(output.read);
  ::fcntl(output_pipe_.get(), F_SETFL, O_NONBLOCK);
  // Closed by a successful exec, so this read ends as soon as the program runs.
  int failure = 0;
  ssize_t got = 0;
  do got = ::read(error.read.get(), &failure, sizeof failure);
  while (got < 0 && errno == EINTR);
  if (got != sizeof failure) return;
  reap();
  errno = failure;
  throw_errno(fmt::format("cannot start {}", options_.command.front()));
}

bool ChildProcess::running() {
  if (pid_ < 0) return false;
  return !reap_if_ended();
}

// Waits for something to happen on the channel or the output and takes what is there. False at the deadline.
bool ChildProcess::pump(short socket_events, SteadyTime deadline) {
  std::array<pollfd, 2> fds{pollfd{socket_.get(), socket_events, 0}, pollfd{output_pipe_.get(), POLLIN, 0}};
  const int ready = ::poll(fds.data(), fds.size(), std::min(timeout_ms(deadline), kLookAfterMs));
  if (ready < 0 && errno != EINTR) throw_errno("cannot wait for a child process");
  if (ready <= 0) return reap_if_ended() || !passed(deadline);
  if (fds[1].revents != 0) read_output();
  if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) read_socket();
  return true;
}

void ChildProcess::read_socket() {
  std::array<char, 65536> chunk;  // not initialised: only what was received is read
  const ssize_t got = ::recv(socket_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
  if (got > 0) return reader_.append({chunk.data(), static_cast<std::size_t>(got)});
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  socket_closed();
}

void ChildProcess::read_output() {
  std::array<char, 4096> chunk;
  for (;;) {
    const ssize_t got = ::read(output_pipe_.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return output_pipe_.close();
    output_.append(chunk.data(), static_cast<std::size_t>(got));
    if (output_.size() > options_.output_limit) output_.erase(0, output_.size() - options_.output_limit);
    if (static_cast<std::size_t>(got) < chunk.size()) return;
  }
}

void ChildProcess::socket_closed() {
  socket_.close();
  if (!reader_.empty()) complaint_ = "ended in the middle of a message; ";
  const auto until = std::chrono::steady_clock::now() + kEndingGrace;
  while (!reap_if_ended() && !passed(until)) std::this_thread::sleep_for(1ms);
  if (pid_ >= 0) {
    complaint_ = "closed its channel without ending; ";
    kill();
  }
}

bool ChildProcess::send(std::string_view payload, SteadyTime deadline) {
  const std::string header = frame_header(payload);
  for (std::string_view part : {std::string_view(header), payload}) {
    while (!part.empty()) {
      if (!socket_) return false;
      const ssize_t sent = ::send(socket_.get(), part.data(), part.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent >= 0) {
        part.remove_prefix(static_cast<std::size_t>(sent));
      } else if (errno == EAGAIN) {
        if (!pump(POLLIN | POLLOUT, deadline)) return false;
      } else if (errno != EINTR) {
        return false;
      }
    }
  }
  return true;
}

Received ChildProcess::receive(SteadyTime deadline) {
  for (;;) {
    try {
      if (auto frame = reader_.next()) return {Received::Kind::frame, std::move(*frame)};
    } catch (const ProtocolError& error) {
      complaint_ = fmt::format("{}; ", error.what());
      kill();
    }
    if (!socket_ || pid_ < 0) return {Received::Kind::ended, {}};
    if (!pump(POLLIN, deadline)) return {Received::Kind::timed_out, {}};
  }
}

bool ChildProcess::wait(SteadyTime deadline) {
  while (running() && socket_) {
    if (!pump(POLLIN, deadline)) return false;
  }
  return !running();
}

void ChildProcess::kill() {
  if (reap_if_ended()) return;
  kill_sent_ = true;
  ::kill(-pid_, SIGKILL);
  const auto until = std::chrono::steady_clock::now() + kKillPatience;
  while (!reap_if_ended() && !passed(until)) std::this_thread::sleep_for(1ms);
  if (pid_ < 0) return;
  pid_ = -1;
  socket_.close();
  ending_ = complaint_ + "did not end when killed";
}

bool ChildProcess::reap_if_ended() {
  if (pid_ < 0) return true;
  siginfo_t info{};
  // Left a zombie until the group has been killed, so that its number can't be given to somebody else.
  const int got = ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
  if (got == 0 && info.si_pid == 0) return false;
  reap();
  return true;
}

void ChildProcess::reap() {
  siginfo_t info{};
  while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  ::kill(-pid_, SIGKILL);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  killed_from_outside_ = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !kill_sent_;
  if (output_pipe_) read_output();
  socket_.close();
  ending_ = complaint_ + describe_status(status);
}

std::string ChildProcess::report() const {
  const auto last = output_.find_last_not_of(" \n\t");
  if (last == std::string::npos) return ending_;
  return fmt::format("{}; its last output: {}", ending_, output_.substr(0, last + 1));
}

}  // namespace fcsa::runner
