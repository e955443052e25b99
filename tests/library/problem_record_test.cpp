// FCSA_RECORD through fcsa.h: what is in the file, and what becomes of it on a bad day.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "tests/library/attention_case.h"
#include "tests/library/library_fixture.h"
#include "tuner/workloads/workload.h"

namespace fcsa::library {
namespace {

class ProblemRecordTest : public LibraryWithoutCompilerTest {
 protected:
  std::filesystem::path file() const { return home() / "calls.jsonl"; }

  void record_to(const std::filesystem::path& pattern) { setenv("FCSA_RECORD", pattern.c_str(), 1); }
  void TearDown() override { unsetenv("FCSA_RECORD"); }

  static fcsa_problem problem() {
    auto problem = forward_problem(FCSA_F32, 2, 20, 32);
    problem.causal = 1;
    return problem;
  }

  static fcsa_status forward(fcsa_plan* plan, AttentionCase& attention) {
    const Memory workspace(fcsa_workspace_bytes(plan), 0);
    fcsa_tensors tensors = attention.tensors();
    tensors.workspace = workspace.data();
    tensors.workspace_bytes = workspace.bytes();
    return fcsa_forward(plan, &tensors, nullptr);
  }

  // So many calls of a plan by this thread.
  static void call(fcsa_plan* plan, int calls) {
    AttentionCase attention(problem());
    for (int i = 0; i < calls; ++i) ASSERT_EQ(forward(plan, attention), FCSA_OK) << fcsa_last_error();
  }

  std::size_t lines() const {
    std::ifstream stream(file());
    return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(stream), {}, '\n'));
  }

  tuner::WorkloadEntry only_entry() const {
    const auto workload = tuner::read_workload(file());
    EXPECT_EQ(workload.entries.size(), 1u);
    return workload.entries.at(0);
  }
};

TEST_F(ProblemRecordTest, APowerOfTwoOfCallsIsWritten) {
  record_to(file());
  const auto library = open("");
  const auto plan = LibraryTest::plan(library, problem());
  EXPECT_FALSE(std::filesystem::exists(file())) << "nothing was run";
  call(plan.get(), 5);
  EXPECT_EQ(lines(), 4u) << "a header, and the counts 1, 2 and 4";
  const auto entry = only_entry();
  EXPECT_EQ(entry.count, 4u);
  EXPECT_EQ(entry.problem, problem_of(problem()));
  EXPECT_EQ(entry.device, kernels::DeviceKind::cpu);
  EXPECT_TRUE(entry.recorded);
}

TEST_F(ProblemRecordTest, PlansAndLibrariesOfAProcessCountTogether) {
  record_to(file());
  for (int i = 0; i < 4; ++i) {
    const auto library = open("");
    const auto plan = LibraryTest::plan(library, problem());
    call(plan.get(), 2);
  }
  EXPECT_EQ(only_entry().count, 8u);
}

TEST_F(ProblemRecordTest, ThreadsAreAddedUp) {
  record_to(file());
  const auto library = open("");
  const auto plan = LibraryTest::plan(library, problem());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { call(plan.get(), 16); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(only_entry().count, 64u);
}

TEST_F(ProblemRecordTest, AChildProcessCountsForItself) {
  record_to(file());
  const auto library = open("");
  const auto plan = LibraryTest::plan(library, problem());
  call(plan.get(), 4);
  const pid_t child = ::fork();
  if (child == 0) {
    AttentionCase attention(problem());
    for (int i = 0; i < 2; ++i)
      if (forward(plan.get(), attention) != FCSA_OK) ::_exit(1);
    ::_exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_EQ(only_entry().count, 6u);
}

TEST_F(ProblemRecordTest, EachProcessHasAFileOfItsOwnWhereThePatternSaysSo) {
  record_to(home() / "calls.%p.jsonl");
  const auto library = open("");
  const auto plan = LibraryTest::plan(library, problem());
  call(plan.get(), 1);
  EXPECT_TRUE(std::filesystem::exists(home() / ("calls." + std::to_string(::getpid()) + ".jsonl")));
}

TEST_F(ProblemRecordTest, AFullDiskIsSaidOnceAndDisturbsNobody) {
  record_to("/dev/full");
  const auto library = open("");
  const auto plan = LibraryTest::plan(library, problem());
  call(plan.get(), 8);
  const auto about = [](const std::string& line) {
    return contains(line, "FCSA_RECORD: cannot write /dev/full");
  };
  EXPECT_EQ(std::count_if(said().begin(), said().end(), about), 1);
}

TEST_F(ProblemRecordTest, WhatRunsNothingIsNotCounted) {
  record_to(file());
  const auto library = open("");
  auto empty = problem();
  empty.nq = 0;
  const auto plan = LibraryTest::plan(library, empty);
  AttentionCase attention(problem());
  static_cast<void>(forward(plan.get(), attention));
  EXPECT_FALSE(std::filesystem::exists(file()));
}

}  // namespace
}  // namespace fcsa::library
