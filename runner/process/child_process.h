// A child process with a message channel of its own, killed with everything it started when this object goes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "runner/process/file_descriptor.h"
#include "runner/process/frame.h"

namespace fcsa::runner {

using SteadyTime = std::chrono::steady_clock::time_point;

// Where a child finds its end of the channel, a stream socket that carries frames.
inline constexpr int kChannelFd = 3;

struct ChildOptions {
  std::vector<std::string> command;           // path of the program, then its arguments
  std::vector<std::string> environment = {};  // "NAME=value", on top of this process's own
  // Sent to the child when the thread that started it ends, so start children from a thread that outlives
  // them.
  int death_signal = SIGKILL;
  std::size_t output_limit = 4096;  // bytes of stdout and stderr that are kept, the last ones
};

struct Received {
  enum class Kind { frame, timed_out, ended };
  Kind kind = Kind::ended;
  std::string frame;
};

// Not thread-safe. The child has its own process group, no terminal signals reach it; stdin is empty, stdout
// and stderr are captured.
class ChildProcess {
 public:
  // Returns once the program runs. Throws std::system_error when it can't be started.
  explicit ChildProcess(ChildOptions options);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  bool running();
  // False when the child ended or the deadline passed before it took everything.
  bool send(std::string_view payload, SteadyTime deadline);
  // The next frame. A child that sends something else than frames is killed, and counts as ended.
  Received receive(SteadyTime deadline);
  // Waits until the child ends by itself; false when it still runs at the deadline.
  bool wait(SteadyTime deadline);
  void kill();

  // How it ended, in words: "killed by signal 11 (Segmentation fault)", "exited with status 3". Empty while
  // it runs.
  const std::string& ending() const { return ending_; }
  // Ended by a SIGKILL that this object did not send: the kernel was out of memory, or somebody killed it. No
  // fault of what the child was doing.
  bool killed_from_outside() const { return killed_from_outside_; }
  const std::string& output() const { return output_; }
  // ending(), and the output when there is some.
  std::string report() const;

 private:
  void spawn();
  bool pump(short socket_events, SteadyTime deadline);
  void read_socket();
  void read_output();
  void socket_closed();
  bool reap_if_ended();
  void reap();

  ChildOptions options_;
  pid_t pid_ = -1;
  FileDescriptor socket_;
  FileDescriptor output_pipe_;
  FrameReader reader_;
  std::string output_;
  std::string ending_;
  std::string complaint_;
  bool kill_sent_ = false;
  bool killed_from_outside_ = false;
};

}  // namespace fcsa::runner
