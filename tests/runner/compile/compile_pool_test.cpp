#include "runner/compile/compile_pool.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/runner/evaluator_fixture.h"

namespace fcsa::runner {
namespace {

using tuner::Status;

class CompilePoolTest : public testing::Test {
 protected:
  CompilePoolOptions options(int jobs = 1) const {
    return {.executable = FCSA_WORKER_PROGRAM,
            .kind = "system",
            .jobs = jobs,
            .cache_directory = directory_.path() / "cache"};
  }

  // A source of its own for every number.
  static CompileRequest request(CompilePool& pool, int number) {
    const auto target = kernels::target_for_arch("generic");
    kernels::KernelSource source{
        kernels::DeviceKind::cpu, "extern \"C\" int f() { return " + std::to_string(number) + "; }\n", {"f"}};
    const auto key = source_hash(source, target, pool.describe(target));
    return {std::move(source), target, key};
  }

  std::filesystem::path file(const std::string& name) const { return directory_.path() / name; }

  // Writes a line for everything that it compiles.
  std::string counting_compiler() const {
    return write_script(file("c++"), "case \"$1\" in -*version) ;; *) cat kernel.cpp >> " +
                                         file("log").string() + ";; esac\nexec g++ \"$@\"");
  }

 private:
  TemporaryDirectory directory_;
};

TEST_F(CompilePoolTest, CompilesToAFileInTheCache) {
  CompilePool pool(options());
  const auto result = pool.wait(request(pool, 1));
  ASSERT_EQ(result.status, Status::ok) << result.message;
  EXPECT_TRUE(std::filesystem::exists(result.cached.binary.path));
  EXPECT_EQ(result.cached.binary.symbols, std::vector<std::string>{"f"});
}

TEST_F(CompilePoolTest, KnowsTheCompilerItAsksAChildFor) {
  CompilePool pool(options());
  const auto description = pool.describe(kernels::target_for_arch("generic"));
  EXPECT_FALSE(description.version.empty());
  EXPECT_FALSE(description.options.empty());
}

TEST_F(CompilePoolTest, CompilesTheSameKeyOnce) {
  const EnvironmentVariable variable("FCSA_CXX", counting_compiler());
  CompilePool pool(options(2));
  const auto one = request(pool, 1);
  pool.submit(one);
  pool.submit(one);
  EXPECT_EQ(pool.wait(one).status, Status::ok);
  EXPECT_EQ(pool.wait(one).status, Status::ok);
  // The first line is of the source that shows whether the compiler works.
  const std::string log = text_of(file("log")), kernel = "int f()";
  const auto first = log.find(kernel);
  ASSERT_NE(first, std::string::npos) << log;
  EXPECT_EQ(log.find(kernel, first + 1), std::string::npos) << log;
}

TEST_F(CompilePoolTest, CompilesInTheOrderOfSubmissionExceptForWhatIsWaitedFor) {
  const EnvironmentVariable variable("FCSA_CXX", counting_compiler());
  CompilePool pool(options());
  std::vector<CompileRequest> requests;
  for (int i = 0; i < 5; ++i) requests.push_back(request(pool, i));
  pool.pause();
  for (const auto& r : requests) pool.submit(r);
  std::thread resumer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    pool.resume();
  });
  EXPECT_EQ(pool.wait(requests[3]).status, Status::ok);
  resumer.join();
  EXPECT_EQ(pool.wait(requests[4]).status, Status::ok);
  for (const auto& r : requests) pool.wait(r);
  const std::string log = text_of(file("log"));
  EXPECT_LT(log.find("return 3"), log.find("return 0")) << log;
  EXPECT_LT(log.find("return 0"), log.find("return 1")) << log;
}

TEST_F(CompilePoolTest, ReportsEveryKeyThatIsFinished) {
  CompilePool pool(options(2));
  std::vector<std::string> expected;
  for (int i = 0; i < 3; ++i) {
    auto r = request(pool, i);
    expected.push_back(r.key);
    pool.submit(std::move(r));
  }
  std::vector<std::string> finished;
  while (finished.size() < expected.size())
    for (auto& key : pool.wait_finished()) finished.push_back(key);
  std::sort(expected.begin(), expected.end());
  std::sort(finished.begin(), finished.end());
  EXPECT_EQ(finished, expected);
}

TEST_F(CompilePoolTest, BeginsNothingWhilePaused) {
  CompilePool pool(options());
  const auto one = request(pool, 1);
  pool.pause();
  pool.submit(one);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_TRUE(std::filesystem::is_empty(file("cache")));
  pool.resume();
  EXPECT_EQ(pool.wait(one).status, Status::ok);
}

TEST_F(CompilePoolTest, WhatIsCancelledInTheQueueIsNotCompiled) {
  CompilePool pool(options());
  const auto one = request(pool, 1), two = request(pool, 2);
  pool.pause();
  pool.submit(one);
  pool.submit(two);
  pool.cancel(one.key);
  pool.cancel("never submitted");
  pool.resume();
  EXPECT_EQ(pool.wait_finished(), std::vector<std::string>{two.key});
  EXPECT_THROW(pool.result(one.key), std::out_of_range);
  EXPECT_EQ(pool.wait(one).status, Status::ok);  // wanted after all
}

TEST_F(CompilePoolTest, SaysWhichIsDoneFirst) {
  CompilePool pool(options());
  const auto one = request(pool, 1), two = request(pool, 2);
  pool.submit(two);
  pool.wait(two);
  pool.pause();
  pool.submit(one);
  EXPECT_EQ(pool.first_done(std::vector{one.key, two.key}), 1u);
  pool.resume();
  EXPECT_EQ(pool.first_done(std::vector{one.key}), 0u);  // waits for it
  EXPECT_EQ(pool.wait_finished().size(), 2u);
}

TEST_F(CompilePoolTest, ThrowsWhenThereIsNoCompiler) {
  const EnvironmentVariable variable("FCSA_CXX", "/nowhere/c++");
  CompilePool pool(options());
  EXPECT_THROW(pool.describe(kernels::target_for_arch("generic")), NoCompiler);
}

TEST_F(CompilePoolTest, ThrowsWhenTheBinaryCannotBeStored) {
  CompilePool pool(options());
  const auto one = request(pool, 1);
  std::filesystem::remove_all(file("cache"));
  std::ofstream(file("cache")) << "a file in the way";
  EXPECT_THROW(pool.wait(one), std::runtime_error);
}

TEST_F(CompilePoolTest, EndsAtOnceWithWorkUnderWayAndLeavesNothing) {
  const EnvironmentVariable variable(
      "FCSA_CXX", write_script(file("c++"),
                               "case \"$1\" in --version) echo 'slow 1.0';; -dumpfullversion) echo 1.0;; "
                               "*) grep -q 'void nothing()' kernel.cpp && exec g++ \"$@\"; echo $$ > " +
                                   file("pid").string() + "; exec sleep 100;; esac"));
  std::filesystem::create_directory(file("tmp"));
  const EnvironmentVariable place("TMPDIR", file("tmp").string());
  {
    CompilePool pool(options());
    pool.submit(request(pool, 1));
    pool.submit(request(pool, 2));
    ASSERT_TRUE(becomes_true([&] { return pid_in(file("pid")) != 0; }));
    EXPECT_FALSE(std::filesystem::is_empty(file("tmp")));
  }
  EXPECT_TRUE(std::filesystem::is_empty(file("tmp")));
  EXPECT_TRUE(becomes_true([&] { return !is_alive(pid_in(file("pid"))); }));
}

}  // namespace
}  // namespace fcsa::runner
