#include "cli/process_setup.h"
#include "cli/say.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>

namespace fcsa::cli {
namespace {

std::atomic<bool>* stop_flag = nullptr;
std::atomic<int> stop_signals{0};

// Calls only what is safe in a signal handler.
void request_stop(int signal) {
  constexpr char kText[] = "\nfcsa: stopping; what is finished is kept (once more ends at once)\n";
  const int error = errno;
  if (stop_signals.fetch_add(1) == 0) {
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kText, sizeof(kText) - 1);
    stop_flag->store(true);
    std::signal(signal, SIG_DFL);
  } else {
    std::signal(signal, SIG_DFL);
    ::raise(signal);
  }
  errno = error;
}

// The first error that something was printed with is kept by nobody: found again by printing nothing.
const char* reason_of_output_error() {
  errno = 0;
  [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, "", 0);
  if (errno == 0) [[maybe_unused]]
    const auto flushed = std::fflush(stdout);
  return errno != 0 ? std::strerror(errno) : "an earlier write failed";
}

}  // namespace

void set_up_process() {
  // Writing to standard output fails as it does where it is closed.
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(stream, F_GETFD) < 0 && errno == EBADF)
      static_cast<void>(::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY));
  std::signal(SIGCHLD, SIG_DFL);
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void stop_on_signals(std::atomic<bool>& stop) {
  stop_flag = &stop;
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, request_stop);
}

bool stop_requested() {
  return stop_flag != nullptr && *stop_flag;
}

bool finish_standard_output() {
  std::cout.flush();
  const bool flushed = std::fflush(stdout) == 0;
  const int error = errno;
  if (flushed && std::ferror(stdout) == 0 && std::cout.good()) return true;
  say("fcsa: cannot write to standard output: {}\n",
      flushed ? reason_of_output_error() : std::strerror(error));
  return false;
}

}  // namespace fcsa::cli
