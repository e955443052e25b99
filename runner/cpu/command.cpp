#include "runner/cpu/command.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <limits>
#include <system_error>

#include "runner/process/exec_texts.h"
#include "runner/process/file_descriptor.h"

namespace fcsa::runner::cpu {
namespace {

[[noreturn]] void fail(int code, const std::string& what) {
  throw std::system_error(code, std::generic_category(), what);
}

struct Pipe {
  FileDescriptor read, write;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail(errno, "cannot make a pipe");
  Pipe pipe{above_standard_streams(FileDescriptor(ends[0])), above_standard_streams(FileDescriptor(ends[1]))};
  if (!pipe.read || !pipe.write) fail(EMFILE, "cannot make a pipe");
  return pipe;
}

// No signal reaches this thread, nor a process that it makes, until the end of the scope: a handler of the
// program that uses us must not run in a copy of it.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

// What the processes below need, prepared by the parent: they may be copies of one thread of many, and call
// only what is safe in a signal handler.
struct Start {
  char* const* argv = nullptr;
  char* const* environment = nullptr;
  const char* directory = nullptr;
  int output = -1, outcome = -1;
  long long deadline_ms = 0;
};

// How the command ended, sent through a pipe.
struct Outcome {
  int error = 0;  // errno of starting it; 0: it was started
  int status = 0;
  bool timed_out = false;
};

void default_signals() {
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0) continue;
    const bool kept = action.sa_handler == SIG_IGN && signal != SIGCHLD && signal != SIGPIPE;
    if (kept) continue;
    action = {};
    action.sa_handler = SIG_DFL;
    ::sigaction(signal, &action, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void become_the_command(const Start& start, int report) {
  if (start.deadline_ms > 0) {
    // So that it can be killed with what it started; not with its parent's group then, but with its parent.
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  const int empty = ::open("/dev/null", O_RDONLY);
  const bool placed = empty >= 0 && ::dup2(empty, STDIN_FILENO) >= 0 &&
                      ::dup2(start.output, STDOUT_FILENO) >= 0 && ::dup2(start.output, STDERR_FILENO) >= 0 &&
                      (start.directory == nullptr || ::chdir(start.directory) == 0);
  if (placed) ::execve(start.argv[0], start.argv, start.environment);
  const int error = errno;
  [[maybe_unused]] const auto written = ::write(report, &error, sizeof(error));
  ::_exit(127);
}

// No fork(): handlers of pthread_atfork() don't run. `signal` is sent to the parent at its end; 0: none.
pid_t copy_of_this_process(int signal) {
  return static_cast<pid_t>(
      ::syscall(SYS_clone, static_cast<unsigned long>(signal), nullptr, nullptr, nullptr, 0UL));
}

long long now_ms() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<long long>(time.tv_sec) * 1000 + time.tv_nsec / 1'000'000;
}

// Kills the command when its time is up, without a signal handler: it looks every few milliseconds.
void wait_for(pid_t pid, long long deadline_ms, Outcome& outcome) {
  const timespec pause{0, 2'000'000};
  for (const long long start = now_ms(); deadline_ms > 0 && now_ms() - start < deadline_ms;) {
    if (::waitpid(pid, &outcome.status, WNOHANG) == pid) return;
    ::nanosleep(&pause, nullptr);
  }
  if (deadline_ms > 0) {
    outcome.timed_out = true;
    ::kill(-pid, SIGKILL);
    ::kill(pid, SIGKILL);  // should it have left its group
  }
  while (::waitpid(pid, &outcome.status, 0) < 0 && errno == EINTR) {
  }
}

Outcome run_to_its_end(const Start& start) {
  std::array<int, 2> report{};
  if (::pipe2(report.data(), O_CLOEXEC) != 0) return {errno, 0};
  if (const int low = report[1]; low <= STDERR_FILENO) {
    report[1] = ::fcntl(low, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    ::close(low);  // or its reader would wait for this process itself
    if (report[1] < 0) return {errno, 0};
  }
  const pid_t pid = copy_of_this_process(SIGCHLD);
  if (pid < 0) return {errno, 0};
  if (pid == 0) become_the_command(start, report[1]);
  ::close(report[1]);
  Outcome outcome;
  if (::read(report[0], &outcome.error, sizeof(outcome.error)) != sizeof(outcome.error)) outcome.error = 0;
  wait_for(pid, start.deadline_ms, outcome);
  return outcome;
}

// What else was open when the copy was made stays open in it, since it starts no program: another thread's
// pipe, whose reader waits for its end. Kernels before 5.9 can't.
void close_all_but(int one, int other) {
  const auto close_between = [](int first, int last) {
    if (first <= last) ::close_range(static_cast<unsigned>(first), static_cast<unsigned>(last), 0);
  };
  const int low = std::min(one, other), high = std::max(one, other);
  close_between(STDERR_FILENO + 1, low - 1);
  close_between(low + 1, high - 1);
  close_between(high + 1, std::numeric_limits<int>::max());
}

// A process between this one and the command. The program that uses us may ignore SIGCHLD or wait for all of
// its children, and then nobody learns how the command ended; this process has children of its own, and is
// itself one of those that neither of the two concerns: its end raises no signal.
pid_t start_keeper(const Start& start) {
  const pid_t pid = copy_of_this_process(0);
  if (pid != 0) return pid;
  close_all_but(start.output, start.outcome);
  default_signals();
  const Outcome outcome = run_to_its_end(start);
  [[maybe_unused]] const auto written = ::write(start.outcome, &outcome, sizeof(outcome));
  ::_exit(0);
}

// False at the end.
bool read_some(int fd, std::string& text) {
  std::array<char, 4096> chunk;
  const ssize_t count = ::read(fd, chunk.data(), chunk.size());
  if (count > 0) text.append(chunk.data(), static_cast<std::size_t>(count));
  return count > 0 || (count < 0 && errno == EINTR);
}

// Reads the output until the outcome is there, and what is left of it then: something that the command left
// behind, such as the server of a compiler cache, may hold the other end for ever.
std::string read_until_outcome(int output, int outcome) {
  std::string text;
  std::array<pollfd, 2> fds{pollfd{output, POLLIN, 0}, pollfd{outcome, POLLIN, 0}};
  for (;;) {
    if (::poll(fds.data(), fds.size(), -1) < 0) {
      if (errno == EINTR) continue;
      fail(errno, "cannot wait for a command");
    }
    if (fds[0].revents != 0 && !read_some(output, text)) fds[0].fd = -1;
    if (fds[1].revents != 0) break;
  }
  ::fcntl(output, F_SETFL, O_NONBLOCK);
  while (read_some(output, text)) {
  }
  return text;
}

}  // namespace

CommandResult run_command(const Command& command) {
  Pipe output = make_pipe();
  Pipe outcome = make_pipe();
  std::vector<std::string> arguments = command.arguments;
  std::vector<std::string> environment = environment_with(command.environment);
  const auto argv = pointers_to(arguments);
  const auto variables = pointers_to(environment);
  const Start start{.argv = argv.data(),
                    .environment = variables.data(),
                    .directory = command.directory.empty() ? nullptr : command.directory.c_str(),
                    .output = output.write.get(),
                    .outcome = outcome.write.get(),
                    .deadline_ms = command.deadline.count()};
  pid_t keeper = -1;
  int error = 0;
  {
    const SignalsBlocked blocked;
    keeper = start_keeper(start);
    error = errno;
  }
  if (keeper < 0) fail(error, "cannot start a process");
  output.write.close();
  outcome.write.close();
  CommandResult result;
  result.output = read_until_outcome(output.read.get(), outcome.read.get());
  Outcome ended;
  const bool told = ::read(outcome.read.get(), &ended, sizeof(ended)) == sizeof(ended);
  while (::waitpid(keeper, nullptr, __WALL) < 0 && errno == EINTR) {
  }
  if (!told) return {128 + SIGKILL, std::move(result.output)};
  result.timed_out = ended.timed_out;
  if (ended.error != 0) fail(ended.error, "cannot start " + command.arguments.front());
  result.status = WIFSIGNALED(ended.status) ? 128 + WTERMSIG(ended.status) : WEXITSTATUS(ended.status);
  return result;
}

}  // namespace fcsa::runner::cpu
