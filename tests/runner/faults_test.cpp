// Bad kernels, bad compilers and killed processes, through the real worker and the real verifier.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "tests/runner/evaluator_fixture.h"

namespace fcsa::runner {
namespace {

using namespace std::chrono_literals;
using tuner::Status;

class FaultsTest : public EvaluatorTest {
 protected:
  tuner::Evaluation evaluate(const std::string& text) {
    const TextFamily family(text);
    ProcessEvaluator evaluator(options());
    return evaluator.evaluate(candidate_of(family));
  }

  // Writes the number of the worker process to the file before anything else.
  std::string tell_pid(const std::string& name) const {
    return "static bool told = false; if (!told) { told = true; FILE* f = fopen(\"" + file(name).string() +
           "\", \"w\"); fprintf(f, \"%d\\n\", int(getpid())); fclose(f); }";
  }

  TextFamily right_{kernel_text()};
};

TEST_F(FaultsTest, AKernelThatHangsIsStoppedAndTheNextOneRuns) {
  auto short_deadline = options();
  short_deadline.evaluate_deadline = 5s;
  ProcessEvaluator evaluator(short_deadline);
  const TextFamily hanging(kernel_text("for (volatile int x = 0;; x = x + 1) {}"));
  const auto evaluation = evaluator.evaluate(candidate_of(hanging));
  EXPECT_EQ(evaluation.status, Status::timed_out);
  EXPECT_NE(evaluation.message.find("verifying"), std::string::npos) << evaluation.message;
  EXPECT_EQ(evaluator.evaluate(candidate_of(right_)).status, Status::ok);
}

TEST_F(FaultsTest, AKernelThatFaultsIsCrashedAndTheNextOneRuns) {
  ProcessEvaluator evaluator(options());
  const TextFamily faulting(kernel_text("raise(SIGSEGV);"));
  const auto evaluation = evaluator.evaluate(candidate_of(faulting));
  EXPECT_EQ(evaluation.status, Status::crashed);
  EXPECT_FALSE(evaluation.message.empty());
  EXPECT_EQ(evaluator.evaluate(candidate_of(right_)).status, Status::ok);
}

TEST_F(FaultsTest, AKernelThatAbortsIsCrashedWithItsLastWords) {
  const auto evaluation = evaluate(kernel_text("fprintf(stderr, \"out of luck\\n\"); abort();"));
  EXPECT_EQ(evaluation.status, Status::crashed);
  EXPECT_NE(evaluation.message.find("killed by signal 6 (Aborted)"), std::string::npos) << evaluation.message;
  EXPECT_NE(evaluation.message.find("out of luck"), std::string::npos) << evaluation.message;
}

TEST_F(FaultsTest, AKernelThatExitsIsCrashed) {
  const auto evaluation = evaluate(kernel_text("_exit(0);"));
  EXPECT_EQ(evaluation.status, Status::crashed);
  EXPECT_NE(evaluation.message.find("exited with status 0"), std::string::npos) << evaluation.message;
}

TEST_F(FaultsTest, AKernelThatPrintsDoesNotDisturbTheMessages) {
  const auto evaluation = evaluate(kernel_text("puts(\"a line of some length, for every single task\");"));
  EXPECT_EQ(evaluation.status, Status::ok) << evaluation.message;
}

TEST_F(FaultsTest, AKernelThatReturnsNaNIsWrong) {
  const auto evaluation =
      evaluate(kernel_text("if (i == a.nq - 1) { for (int c = 0; c < kDim; ++c) o[c] = "
                           "NAN; *lse = 0; "
                           "return; }"));
  EXPECT_EQ(evaluation.status, Status::wrong_result);
  EXPECT_FALSE(evaluation.message.empty());
}

TEST_F(FaultsTest, AKernelThatIsOffByOneKeyIsWrong) {
  EXPECT_EQ(evaluate(kernel_text("", "(a.nk > 1 ? a.nk - 1 : 1)")).status, Status::wrong_result);
}

TEST_F(FaultsTest, AKernelThatLeavesTheLastTileStaleIsWrong) {
  EXPECT_EQ(evaluate(kernel_text("if (a.nq % kTile != 0 && i / kTile == a.nq / kTile) return;")).status,
            Status::wrong_result);
}

TEST_F(FaultsTest, AKernelThatLeavesTheLastTileOfTheTunedShapeStaleIsWrong) {
  EXPECT_EQ(evaluate(kernel_text("if (a.nq == 35 && i >= 32) return;")).status, Status::wrong_result);
}

TEST_F(FaultsTest, AKernelThatWritesBehindItsOutputIsWrong) {
  EXPECT_EQ(evaluate(kernel_text("if (i == a.nq - 1) o[kDim] = 1;")).status, Status::wrong_result);
}

TEST_F(FaultsTest, AKernelThatLeavesLseStaleIsWrong) {
  EXPECT_EQ(evaluate(kernel_text("float unused; if (a.nq == 35) lse = &unused;")).status,
            Status::wrong_result);
}

TEST_F(FaultsTest, SourceThatDoesNotCompileIsReportedWithItsFirstError) {
  const auto evaluation = evaluate(kernel_text("no_such_function(a);"));
  EXPECT_EQ(evaluation.status, Status::compile_failed);
  EXPECT_NE(evaluation.message.find("no_such_function"), std::string::npos) << evaluation.message;
}

TEST_F(FaultsTest, ABinaryWithoutItsEntryPointFailsToLaunch) {
  EXPECT_EQ(evaluate("int nothing;\n").status, Status::launch_failed);
}

TEST_F(FaultsTest, AContenderThatDiesWhileBeingMeasuredLeavesTheOthersInTheRace) {
  ProcessEvaluator evaluator(options());
  // Right the first few times that the whole shape is run.
  const TextFamily treacherous(
      kernel_text("static int runs = 0; if (a.nq == 35 && a.nk == 41 && task == 0 && "
                  "__sync_add_and_fetch(&runs, 1) > 3) abort();"));
  const std::vector<tuner::Candidate> contenders{candidate_of(right_, 0), candidate_of(treacherous),
                                                 candidate_of(right_, 1)};
  const auto results = evaluator.race(contenders);
  EXPECT_EQ(results[0].status, Status::ok) << results[0].message;
  EXPECT_EQ(results[1].status, Status::crashed);
  EXPECT_EQ(results[2].status, Status::ok) << results[2].message;
  EXPECT_GE(results[2].measurement.samples_ms.size(), 2U);
}

TEST_F(FaultsTest, AWorkerKilledFromOutsideInTheMiddleOfAJobCostsNoTrial) {
  ProcessEvaluator evaluator(options());
  // The second time there is a file already.
  const TextFamily waiting(kernel_text("if (access(\"" + file("pid").string() + "\", F_OK) != 0) { " +
                                       tell_pid("pid") + " sleep(100); }"));
  std::thread killer([&] {
    EXPECT_TRUE(becomes_true([&] { return pid_in(file("pid")) != 0; }));
    ::kill(pid_in(file("pid")), SIGKILL);
  });
  const auto evaluation = evaluator.evaluate(candidate_of(waiting));
  killer.join();
  EXPECT_EQ(evaluation.status, Status::ok) << evaluation.message;
}

TEST_F(FaultsTest, AKernelWhoseWorkerIsKilledEveryTimeIsCrashedAndTheNextOneRuns) {
  ProcessEvaluator evaluator(options());
  const TextFamily greedy(kernel_text("kill(getpid(), SIGKILL);"));
  const auto evaluation = evaluator.evaluate(candidate_of(greedy));
  EXPECT_EQ(evaluation.status, Status::crashed);
  EXPECT_NE(evaluation.message.find("killed by signal 9 (Killed)"), std::string::npos) << evaluation.message;
  EXPECT_EQ(evaluator.evaluate(candidate_of(right_)).status, Status::ok);
}

TEST_F(FaultsTest, AWorkerKilledBetweenJobsIsReplacedUnnoticed) {
  ProcessEvaluator evaluator(options());
  const TextFamily telling(kernel_text(tell_pid("pid")));
  ASSERT_EQ(evaluator.verify(candidate_of(telling)).status, Status::ok);
  ::kill(pid_in(file("pid")), SIGKILL);
  EXPECT_EQ(evaluator.verify(candidate_of(right_)).status, Status::ok);
}

// Says its version like a compiler; does something else when it is to compile.
std::string compiler_script(const std::filesystem::path& path, const std::string& body) {
  return write_script(path,
                      "case \"$1\" in --version) echo 'broken 1.0';; -dumpfullversion) echo 1.0;; *) "
                      "grep -q 'void nothing()' kernel.cpp && exec c++ \"$@\"; " +  // whether it works at all
                          body +
                          ";; esac");
}

// The parent of the process that waits for the compiler.
constexpr const char* kKillCompileProcess = "kill -9 $(cut -d' ' -f4 /proc/$PPID/stat)";

TEST_F(FaultsTest, ACompilerThatHangsIsStopped) {
  const EnvironmentVariable variable(
      "FCSA_CXX", compiler_script(file("c++"), "echo $$ > " + file("pid").string() + "; exec sleep 100"));
  auto short_deadline = options();
  short_deadline.compile_deadline = 2s;
  ProcessEvaluator evaluator(short_deadline);
  const auto evaluation = evaluator.evaluate(candidate_of(right_));
  EXPECT_EQ(evaluation.status, Status::timed_out);
  EXPECT_TRUE(becomes_true([&] { return pid_in(file("pid")) != 0 && !is_alive(pid_in(file("pid"))); }));
}

TEST_F(FaultsTest, ACompileProcessKilledFromOutsideCostsNoTrial) {
  const EnvironmentVariable variable(
      "FCSA_CXX",
      compiler_script(file("c++"), "[ -e " + file("second").string() + " ] && exec c++ \"$@\"; touch " +
                                       file("second").string() + "; " + kKillCompileProcess));
  const auto evaluation = ProcessEvaluator(options()).evaluate(candidate_of(right_));
  EXPECT_EQ(evaluation.status, Status::ok) << evaluation.message;
}

TEST_F(FaultsTest, ACompileProcessThatDiesIsReplaced) {
  const EnvironmentVariable variable(
      "FCSA_CXX",
      compiler_script(file("c++"), std::string("grep -q 'number = 0' kernel.cpp || exec c++ \"$@\"; ") +
                                       kKillCompileProcess));
  ProcessEvaluator evaluator(options());
  const auto evaluation = evaluator.evaluate(candidate_of(right_, 0));
  EXPECT_EQ(evaluation.status, Status::out_of_memory);  // most likely; tried again in the next run
  EXPECT_NE(evaluation.message.find("killed by signal 9 (Killed)"), std::string::npos) << evaluation.message;
  EXPECT_EQ(evaluator.evaluate(candidate_of(right_, 1)).status, Status::ok);
}

// Starts a parent that evaluates, waits until the process that it started has told its number, kills the
// parent. That process's number.
template <typename Evaluate>
pid_t kill_parent_when_told(const std::filesystem::path& pid_file, Evaluate evaluate) {
  const pid_t parent = ::fork();
  if (parent == 0) {
    evaluate();
    ::_exit(0);
  }
  EXPECT_TRUE(becomes_true([&] { return pid_in(pid_file) != 0; }));
  ::kill(parent, SIGKILL);
  EXPECT_EQ(::waitpid(parent, nullptr, 0), parent);
  return pid_in(pid_file);
}

TEST_F(FaultsTest, AParentKilledInTheMiddleOfAJobLeavesNoWorkerBehind) {
  const EnvironmentVariable place("TMPDIR", file("").string());
  const TextFamily waiting(kernel_text(tell_pid("pid") + " sleep(100);"));
  const pid_t worker = kill_parent_when_told(
      file("pid"), [&] { ProcessEvaluator(options()).evaluate(candidate_of(waiting)); });
  EXPECT_TRUE(becomes_true([&] { return !is_alive(worker); }));
}

TEST_F(FaultsTest, AParentKilledWhileCompilingLeavesNoCompilerBehind) {
  const EnvironmentVariable place("TMPDIR", file("").string());
  const EnvironmentVariable variable(
      "FCSA_CXX", compiler_script(file("c++"), "echo $$ > " + file("pid").string() + "; exec sleep 100"));
  const pid_t compiler =
      kill_parent_when_told(file("pid"), [&] { ProcessEvaluator(options()).evaluate(candidate_of(right_)); });
  EXPECT_TRUE(becomes_true([&] { return !is_alive(compiler); }));
}

}  // namespace
}  // namespace fcsa::runner
