// Compilers are run inside programs that do what they like with signals, children and file descriptors.
#include "runner/cpu/command.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <system_error>
#include <thread>

#include "runner/process/temporary_directory.h"

namespace fcsa::runner::cpu {
namespace {

CommandResult shell(const std::string& script) {
  return run_command({{"/bin/sh", "-c", script}, {}, {}});
}

// What a process is ends with it: what the body returns is its exit status.
template <typename Body>
int status_in_child(const Body& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    ::_exit(body());
  }
  int status = -1;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// 0 when a command's output and exit status arrive.
int runs_a_command() {
  try {
    const auto result = shell("echo out; echo err >&2; exit 7");
    return result.status == 7 && result.output == "out\nerr\n" ? 0 : 1;
  } catch (const std::exception&) {
    return 2;
  }
}

TEST(RunCommand, GivesTheOutputAndHowItEnded) {
  EXPECT_EQ(runs_a_command(), 0);
  EXPECT_EQ(shell("kill -9 $$").status, 128 + SIGKILL);
  EXPECT_EQ(shell("head -c 1000000 /dev/zero").output.size(), 1000000U);
  EXPECT_THROW(run_command({{"/nonexistent"}, {}, {}}), std::system_error);
  EXPECT_THROW(run_command({{"/bin/sh", "-c", "true"}, "/nonexistent", {}}), std::system_error);
}

TEST(RunCommand, WorksWhereTheProgramIgnoresItsChildren) {
  EXPECT_EQ(status_in_child([] {
              ::signal(SIGCHLD, SIG_IGN);
              return runs_a_command();
            }),
            0);
  EXPECT_EQ(status_in_child([] {
              struct sigaction action {};
              action.sa_handler = SIG_DFL;
              action.sa_flags = SA_NOCLDWAIT;
              ::sigaction(SIGCHLD, &action, nullptr);
              return runs_a_command();
            }),
            0);
}

TEST(RunCommand, WorksWhereAHandlerOfTheProgramWaitsForEveryChild) {
  EXPECT_EQ(status_in_child([] {
              ::signal(SIGCHLD, [](int) {
                while (::waitpid(-1, nullptr, WNOHANG) > 0) {
                }
              });
              return runs_a_command();
            }),
            0);
}

TEST(RunCommand, WorksWhereAThreadOfTheProgramWaitsForEveryChild) {
  EXPECT_EQ(status_in_child([] {
              std::thread([] {
                for (;;)
                  if (::waitpid(-1, nullptr, 0) < 0) ::usleep(200);
              }).detach();
              for (int i = 0; i < 20; ++i)
                if (const int status = runs_a_command(); status != 0) return status;
              return 0;
            }),
            0);
}

TEST(RunCommand, LeavesNoChildBehindAndRaisesNoSignal) {
  EXPECT_EQ(status_in_child([] {
              static std::atomic<int> signals{0};
              ::signal(SIGCHLD, [](int) { ++signals; });
              const int status = runs_a_command();
              if (::waitpid(-1, nullptr, WNOHANG | __WALL) != -1 || errno != ECHILD) return 3;
              return signals == 0 ? status : 4;
            }),
            0);
}

TEST(RunCommand, WorksWithClosedStandardStreams) {
  EXPECT_EQ(status_in_child([] {
              for (const int stream : {0, 1, 2}) ::close(stream);
              const int status = runs_a_command();
              // They are closed again, and nothing of ours is there in between.
              for (const int stream : {0, 1, 2})
                if (::fcntl(stream, F_GETFD) >= 0) return 5;
              return status;
            }),
            0);
}

TEST(RunCommand, LetsNoBlockedOrIgnoredSignalReachTheCommand) {
  EXPECT_EQ(status_in_child([] {
              sigset_t all;
              sigfillset(&all);
              ::sigprocmask(SIG_SETMASK, &all, nullptr);
              ::signal(SIGPIPE, SIG_IGN);
              if (runs_a_command() != 0) return 1;
              // A shell that blocks or ignores it would go on.
              return shell("kill -15 $$; echo alive").output.empty() &&
                             shell("kill -13 $$; echo alive").output.empty()
                         ? 0
                         : 2;
            }),
            0);
}

TEST(RunCommand, RunsNoHandlerOfTheProgramInACopyOfIt) {
  EXPECT_EQ(status_in_child([] {
              static const pid_t self = ::getpid();
              ::signal(SIGUSR1, [](int) {
                if (::getpid() != self) ::kill(self, SIGKILL);
              });
              ::pthread_atfork(nullptr, nullptr, [] { ::kill(self, SIGKILL); });
              ::setpgid(0, 0);
              // To the whole group: this process, the command, and what is between them.
              const auto result = shell("kill -USR1 0; sleep 5");
              return result.status == 128 + SIGUSR1 || result.status == 128 + SIGKILL ? 0 : 1;
            }),
            0);
}

TEST(RunCommand, KillsWhatTakesTooLongWithAllThatItStarted) {
  const auto start = std::chrono::steady_clock::now();
  // Two that hang: the shell, and what holds the lock. It is free again when both are gone.
  const TemporaryDirectory folder;
  const std::string lock = (folder.path() / "lock").string();
  const auto result = run_command({{"/bin/sh", "-c", "echo begun; flock " + lock + " sleep 100; echo no"},
                                   {},
                                   {},
                                   std::chrono::milliseconds(300)});
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.output, "begun\n");
  EXPECT_EQ(result.status, 128 + SIGKILL);
  EXPECT_EQ(shell("flock -w 20 " + lock + " echo free").output, "free\n");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST(RunCommand, WithADeadlineIsAsWithoutWhereItEndsInTime) {
  const auto result = run_command({{"/bin/sh", "-c", "echo out; exit 7"}, {}, {}, std::chrono::seconds(60)});
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.output, "out\n");
  EXPECT_EQ(result.status, 7);
}

TEST(RunCommand, DoesNotWaitForWhatTheCommandLeavesRunning) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(shell("sleep 30 & echo started").output, "started\n");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(RunCommand, SaysSoWhenNoProcessOrFileIsToBeHad) {
  EXPECT_EQ(status_in_child([] {
              const rlimit none{8, 8};
              ::setrlimit(RLIMIT_NOFILE, &none);
              while (::open("/dev/null", O_RDONLY) >= 0) {
              }
              try {
                shell("true");
              } catch (const std::system_error& error) {
                for (int file = 3; file < 8; ++file)
                  ::close(file);  // the sanitizer looks with some of its own
                return error.code() == std::errc::too_many_files_open ? 0 : 1;
              }
              return 2;
            }),
            0);
}

}  // namespace
}  // namespace fcsa::runner::cpu
