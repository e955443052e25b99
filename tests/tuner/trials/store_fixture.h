// Child processes that tests kill, users whom permissions bind, and the errors that follow.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

#include "tests/tuner/trials/store_records.h"
#include "tuner/trials/store.h"

namespace fcsa::tuner {

// Message of the StoreError that `act` throws; fails the test when it doesn't.
inline std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const StoreError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no StoreError";
  return "";
}

inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in '" << text << "'";
}

// A forked process: `act` writes to the pipe that `read` drains.
class Child {
 public:
  explicit Child(const std::function<void(int pipe)>& act) {
    int ends[2];
    if (pipe(ends) != 0) throw std::runtime_error("pipe");
    process_ = fork();
    if (process_ == 0) {
      close(ends[0]);
      int status = 0;
      try {
        act(ends[1]);
      } catch (const std::exception& error) {
        dprintf(ends[1], "%s", error.what());
        status = 1;
      }
      _exit(status);
    }
    close(ends[1]);
    pipe_ = ends[0];
  }
  ~Child() {
    close(pipe_);
    if (process_ > 0) {
      kill();
      wait();
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void kill() const { ::kill(process_, SIGKILL); }
  // Everything written until the process ended.
  std::string read() const {
    std::string text;
    char buffer[4096];
    for (ssize_t count = 0; (count = ::read(pipe_, buffer, sizeof buffer)) > 0;) {
      text.append(buffer, static_cast<std::size_t>(count));
    }
    return text;
  }
  // Kills it a while after it has written so many lines.
  std::string read_then_kill(std::size_t lines, std::chrono::microseconds delay) const {
    std::string text;
    for (char c = 0; lines > 0 && ::read(pipe_, &c, 1) == 1; text += c) lines -= c == '\n' ? 1 : 0;
    std::this_thread::sleep_for(delay);
    kill();
    return text + read();
  }
  int wait() {
    int status = 0;
    waitpid(process_, &status, 0);
    process_ = 0;
    return status;
  }

 private:
  pid_t process_ = 0;
  int pipe_ = -1;
};

// What `act` says when run by a user whom file permissions bind; "" when it succeeds.
inline std::string as_ordinary_user(const std::function<void()>& act) {
  Child child([&](int) {
    constexpr uid_t kNobody = 65534;
    if (geteuid() == 0 && setresuid(kNobody, kNobody, kNobody) != 0) throw std::runtime_error("setresuid");
    act();
  });
  return child.read();
}

// Tests that misuse, damage or kill: file_ is in a folder that any user may write to.
class StoreFixture : public ::testing::Test {
 protected:
  using Mode = Store::Mode;

  // Open to the ordinary user that some tests change to.
  void SetUp() override { ASSERT_EQ(chmod(folder_.path().c_str(), 0777), 0); }
  // Otherwise what is in a read-only folder couldn't be removed.
  void TearDown() override { chmod(folder_.path().c_str(), 0777); }

  void fill(int trials) {
    Store store(file_, Mode::read_write);
    store.begin_session(make_session("filled"));
    for (int i = 0; i < trials; ++i) store.record(make_trial(i));
  }

  TemporaryFolder folder_;
  std::filesystem::path file_ = folder_ / "tuning.db";
};

}  // namespace fcsa::tuner
