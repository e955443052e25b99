// Programs that do what they like with signals, children, streams and fork(), and machines that lack
// something.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <functional>
#include <thread>

#include "tests/library/attention_case.h"
#include "tests/library/library_fixture.h"
#include "tests/runner/processes.h"

namespace fcsa::library {
namespace {

// Of an unprepared or a prepared plan.
fcsa_status forward(fcsa_plan* plan, AttentionCase& attention) {
  const Memory workspace(fcsa_workspace_bytes(plan), 0);
  fcsa_tensors tensors = attention.tensors();
  tensors.workspace = workspace.data();
  tensors.workspace_bytes = workspace.bytes();
  return fcsa_forward(plan, &tensors, nullptr);
}

// The exit status of a child process that does this; 128 + SIGALRM when it hangs.
int status_in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(240);
    ::_exit(body());
  }
  int status = -1;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Nothing is built in for these.
fcsa_problem problem_to_compile() {
  return forward_problem(FCSA_F32, 2, 24, 48);
}

class HostsTest : public LibraryTest {
 protected:
  // 0 when a plan is compiled, and right.
  int compiles() {
    AttentionCase attention(problem_to_compile());
    const auto library = open("");
    fcsa_plan* made = nullptr;
    if (fcsa_plan_create(library.get(), &attention.problem(), &made) != FCSA_OK) return 1;
    const PlanPtr plan(made);
    if (fcsa_prepare(plan.get()) != FCSA_OK) return 2;
    if (forward(plan.get(), attention) != FCSA_OK) return 3;
    return attention.worst_error() <= tolerance(FCSA_F32) ? 0 : 4;
  }
};

TEST_F(HostsTest, MayIgnoreTheirChildrenBlockSignalsAndCloseTheStandardStreams) {
  EXPECT_EQ(status_in_child([&] {
              ::signal(SIGCHLD, SIG_IGN);
              sigset_t all;
              sigfillset(&all);
              sigdelset(&all, SIGALRM);
              ::sigprocmask(SIG_SETMASK, &all, nullptr);
              for (const int stream : {0, 1, 2}) ::close(stream);
              return compiles();
            }),
            0);
}

TEST_F(HostsTest, MayReapEveryChild) {
  EXPECT_EQ(status_in_child([&] {
              ::signal(SIGCHLD, [](int) {
                while (::waitpid(-1, nullptr, WNOHANG) > 0) {
                }
              });
              return compiles();
            }),
            0);
}

TEST_F(HostsTest, AreToldWhereNothingCanBeWritten) {
  const testing::ScopedEnvironment home("HOME", ""), cache("XDG_CACHE_HOME", ""),
      temporary("TMPDIR", "/nonexistent/folder");
  const auto library = open("");
  const auto plan = LibraryTest::plan(library, problem_to_compile());
  EXPECT_EQ(fcsa_prepare(plan.get()), FCSA_HOST_FAILED);
  EXPECT_TRUE(contains(fcsa_last_error(), "TMPDIR")) << fcsa_last_error();
}

TEST_F(HostsTest, AreToldThatTheCompilerLacksItsAssembler) {
  const auto bin = home() / "bin";
  std::filesystem::create_directories(bin);
  const testing::ScopedEnvironment compiler("FCSA_CXX",
                                            runner::write_script(bin / "g++", "exec /usr/bin/g++ \"$@\"")),
      path("PATH", bin);
  const auto library = open("");
  const auto plan = LibraryTest::plan(library, problem_to_compile());
  EXPECT_EQ(fcsa_prepare(plan.get()), FCSA_HOST_FAILED);
  EXPECT_TRUE(contains(fcsa_last_error(), "install what is missing")) << fcsa_last_error();
}

TEST_F(HostsTest, AreToldOnceThatBuiltInKernelsRunForWantOfACompiler) {
  const testing::ScopedEnvironment compiler("FCSA_CXX", "/nowhere/c++");
  const auto library = open("");
  for (const int head_dim : {32, 64}) {
    AttentionCase attention(forward_problem(FCSA_F32, 2, 24, head_dim));
    const auto plan = LibraryTest::plan(library, attention.problem());
    ASSERT_EQ(forward(plan.get(), attention), FCSA_OK) << fcsa_last_error();
  }
  ASSERT_EQ(said().size(), 1U);
  EXPECT_TRUE(contains(said()[0], "built in")) << said()[0];
  EXPECT_TRUE(contains(said()[0], "install g++")) << said()[0];
}

TEST_F(HostsTest, AskACompilerThatHangsOnce) {
  const auto asked = home() / "asked";
  const testing::ScopedEnvironment deadline("FCSA_COMPILER_DEADLINE", "0.3"),
      compiler("FCSA_CXX",
               runner::write_script(home() / "hangs", "echo x >> " + asked.string() + "; sleep 100"));
  const auto library = open("");
  const auto plan = LibraryTest::plan(library, problem_to_compile());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(fcsa_prepare(plan.get()), FCSA_NO_COMPILER);
    EXPECT_TRUE(contains(fcsa_last_error(), "has not answered in 0.3 s")) << fcsa_last_error();
  }
  EXPECT_EQ(runner::text_of(asked), "x\n");
}

// Of a compiler that says its version and compiles nothing.
TEST_F(HostsTest, WaitForAKernelForALimitedTimeAndThenRunWhatIsBuiltIn) {
  const auto asked = home() / "asked";
  const testing::ScopedEnvironment deadline("FCSA_COMPILER_DEADLINE", "0.1"),
      compiler("FCSA_CXX", runner::write_script(home() / "hangs",
                                                "case \"$1\" in -*version) echo fake 1.0; exit 0;; esac\n"
                                                "echo x >> " +
                                                    asked.string() + "; sleep 100"));
  const auto library = open("");
  for (const int head_dim : {32, 64}) {
    AttentionCase attention(forward_problem(FCSA_F32, 2, 24, head_dim));
    const auto plan = LibraryTest::plan(library, attention.problem());
    ASSERT_EQ(forward(plan.get(), attention), FCSA_OK) << fcsa_last_error();
    EXPECT_LE(attention.worst_error(), tolerance(FCSA_F32));
    EXPECT_TRUE(contains(fcsa_describe(plan.get()), "hangs has not compiled a kernel in 0.6 s"))
        << fcsa_describe(plan.get());
  }
  const auto nothing_built_in = LibraryTest::plan(library, problem_to_compile());
  EXPECT_EQ(fcsa_prepare(nothing_built_in.get()), FCSA_NO_COMPILER);
  EXPECT_TRUE(contains(fcsa_last_error(), "FCSA_COMPILER_DEADLINE=SECONDS")) << fcsa_last_error();
  EXPECT_EQ(runner::text_of(asked), "x\n");
  ASSERT_EQ(said().size(), 1U);
  EXPECT_TRUE(contains(said()[0], "has not compiled a kernel")) << said()[0];
}

class ForkTest : public LibraryWithoutCompilerTest {};

TEST_F(ForkTest, TheChildComputesWhileOthersWereInsideACall) {
  const fcsa_problem problem = forward_problem(FCSA_F32, 2, 64, 64);
  const auto library = open("");
  AttentionCase first(problem);
  const auto prepared = plan(library, problem);
  ASSERT_EQ(forward(prepared.get(), first), FCSA_OK) << fcsa_last_error();
  std::atomic<bool> stop{false};
  std::vector<std::thread> others;
  for (int i = 0; i < 2; ++i)
    others.emplace_back([&] {
      AttentionCase own(problem);
      while (!stop) {
        fcsa_plan* same = nullptr;
        EXPECT_EQ(fcsa_plan_create(library.get(), &problem, &same), FCSA_OK);
        EXPECT_EQ(forward(same, own), FCSA_OK);
        fcsa_plan_destroy(same);
      }
    });
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(status_in_child([&] {
                AttentionCase own(problem);
                fcsa_plan* same = nullptr;
                if (fcsa_plan_create(library.get(), &problem, &same) != FCSA_OK) return 1;
                if (forward(same, own) != FCSA_OK) return 2;
                if (own.worst_error() > tolerance(FCSA_F32)) return 3;
                // What wasn't seen before, too: nobody was making a plan.
                fcsa_problem other = problem;
                other.nq = 40;
                AttentionCase another(other);
                fcsa_plan* made = nullptr;
                if (fcsa_plan_create(library.get(), &other, &made) != FCSA_OK) return 4;
                return forward(made, another) == FCSA_OK ? 0 : 5;
              }),
              0)
        << "child " << i;
  }
  stop = true;
  for (auto& thread : others) thread.join();
}

TEST_F(ForkTest, TheChildGetsAnErrorForWhatAnotherThreadWasPreparing) {
  const auto told = home() / "compiler";
  const testing::ScopedEnvironment compiler(
      "FCSA_CXX", runner::write_script(home() / "slow",
                                       "case \"$1\" in -*version) echo slow 1.0; exit 0;; esac; echo $$ > " +
                                           told.string() + "; exec sleep 200"));
  const auto library = open("");
  AttentionCase ready(forward_problem(FCSA_F32, 2, 24, 64));
  PlanPtr prepared;
  {
    const testing::ScopedEnvironment none("FCSA_CXX", "/nowhere/c++");
    prepared = plan(library, ready.problem());
    ASSERT_EQ(forward(prepared.get(), ready), FCSA_OK) << fcsa_last_error();
  }
  const auto slow = plan(library, problem_to_compile());
  std::thread preparing([&] { EXPECT_NE(fcsa_prepare(slow.get()), FCSA_OK); });
  ASSERT_TRUE(runner::becomes_true([&] { return runner::pid_in(told) != 0; }, std::chrono::seconds(60)));
  EXPECT_EQ(status_in_child([&] {
              if (forward(prepared.get(), ready) != FCSA_OK) return 1;
              if (fcsa_prepare(slow.get()) != FCSA_HOST_FAILED) return 2;
              if (!contains(fcsa_last_error(), "prepare plans before fork()")) return 3;
              fcsa_problem other = problem_to_compile();
              other.nq = 8;
              fcsa_plan* made = nullptr;
              return fcsa_plan_create(library.get(), &other, &made) == FCSA_HOST_FAILED ? 0 : 4;
            }),
            0);
  // Until the preparation has given up: the compiler is tried again where it was killed.
  std::atomic<bool> done{false};
  std::thread killer([&] {
    while (!done) {
      if (const pid_t pid = runner::pid_in(told)) ::kill(pid, SIGTERM);
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  });
  preparing.join();
  done = true;
  killer.join();
}

TEST_F(ForkTest, TheChildDoesNotRemoveWhatItsParentHasCompiled) {
  const runner::TemporaryDirectory folder;
  EXPECT_EQ(status_in_child([&] {
              const_cast<runner::TemporaryDirectory&>(folder).~TemporaryDirectory();
              return 0;
            }),
            0);
  EXPECT_TRUE(std::filesystem::exists(folder.path()));
}

}  // namespace
}  // namespace fcsa::library
