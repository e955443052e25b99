#include "runner/process/abandon.h"

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <stdexcept>
#include <thread>

namespace fcsa::runner {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Abandon, LeavesWhatDoesNotEndToItself) {
  const auto stop = std::make_shared<std::atomic<bool>>(false);
  const auto over = std::make_shared<std::atomic<bool>>(false);
  EXPECT_FALSE(ends_within(milliseconds(20), [stop, over] {
    while (!*stop) std::this_thread::sleep_for(milliseconds(1));
    *over = true;
  }));
  EXPECT_FALSE(*over);
  *stop = true;
  while (!*over) std::this_thread::sleep_for(milliseconds(1));
}

TEST(Abandon, WaitsForWhatEndsAndThrowsWhatItThrows) {
  int result = 0;
  EXPECT_TRUE(ends_within(seconds(60), [&] { result = 7; }));
  EXPECT_EQ(result, 7);
  EXPECT_THROW(ends_within(seconds(60), [] { throw std::runtime_error("refused"); }), std::runtime_error);
}

TEST(Abandon, KeepsSignalsOfTheProgramAway) {
  bool blocked = false;
  EXPECT_TRUE(ends_within(seconds(60), [&] {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    blocked = sigismember(&mask, SIGINT) == 1 && sigismember(&mask, SIGCHLD) == 1;
  }));
  EXPECT_TRUE(blocked);
}

}  // namespace
}  // namespace fcsa::runner
