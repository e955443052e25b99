#include "runner/process/child_process.h"

#include <gtest/gtest.h>

#include <system_error>

#include "runner/process/temporary_directory.h"
#include "tests/runner/processes.h"

namespace fcsa::runner {
namespace {

using namespace std::chrono_literals;

ChildOptions shell(const std::string& script) {
  return {.command = {"/bin/sh", "-c", script}};
}

SteadyTime soon() {
  return std::chrono::steady_clock::now() + 20s;
}

std::string ending_of(const std::string& script) {
  ChildProcess child(shell(script));
  EXPECT_EQ(child.receive(soon()).kind, Received::Kind::ended);
  return child.ending();
}

TEST(ChildProcess, ReceivesAFrameFromTheChild) {
  ChildProcess child(shell("printf 'fcsa\\005\\000\\000\\000hello' >&3"));
  const Received received = child.receive(soon());
  ASSERT_EQ(received.kind, Received::Kind::frame);
  EXPECT_EQ(received.frame, "hello");
}

TEST(ChildProcess, SendsAFrameToTheChild) {
  ChildProcess child(shell("head -c 13 <&3 | tail -c 5 | { read x; echo \"got $x\"; }"));
  EXPECT_TRUE(child.send("hello", soon()));
  EXPECT_TRUE(child.wait(soon()));
  EXPECT_EQ(child.output(), "got hello\n");
}

TEST(ChildProcess, KeepsPrintedTextOutOfTheMessages) {
  ChildProcess child(shell("echo noise; printf 'fcsa\\002\\000\\000\\000ok' >&3; echo more >&2"));
  EXPECT_EQ(child.receive(soon()).frame, "ok");
  EXPECT_TRUE(child.wait(soon()));
  EXPECT_EQ(child.output(), "noise\nmore\n");
}

TEST(ChildProcess, KeepsOnlyTheEndOfALongOutput) {
  ChildOptions options = shell("seq 1 100000");
  options.output_limit = 100;
  ChildProcess child(options);
  EXPECT_TRUE(child.wait(soon()));
  EXPECT_EQ(child.output().size(), 100U);
  EXPECT_TRUE(child.output().ends_with("99999\n100000\n"));
}

TEST(ChildProcess, SaysWithWhichStatusTheChildExited) {
  EXPECT_EQ(ending_of("exit 7"), "exited with status 7");
}

TEST(ChildProcess, SaysWhichSignalKilledTheChild) {
  EXPECT_EQ(ending_of("kill -SEGV $$"), "killed by signal 11 (Segmentation fault)");
}

TEST(ChildProcess, ReportsTheLastOutputWithTheEnding) {
  ChildProcess child(shell("echo 'assertion failed' >&2; exit 3"));
  EXPECT_EQ(child.receive(soon()).kind, Received::Kind::ended);
  EXPECT_EQ(child.report(), "exited with status 3; its last output: assertion failed");
}

TEST(ChildProcess, GivesTheChildTheVariablesItIsToldAndItsOwn) {
  ChildOptions options = shell("test -n \"$PATH\" && echo $TMPDIR");
  options.environment = {"TMPDIR=/elsewhere"};
  ChildProcess child(options);
  EXPECT_TRUE(child.wait(soon()));
  EXPECT_EQ(child.output(), "/elsewhere\n");
}

TEST(ChildProcess, StopsWaitingAtTheDeadline) {
  ChildProcess child(shell("sleep 100"));
  EXPECT_EQ(child.receive(std::chrono::steady_clock::now() + 20ms).kind, Received::Kind::timed_out);
  EXPECT_TRUE(child.running());
}

TEST(ChildProcess, TreatsAnIncompleteMessageAsTheEndOfTheChild) {
  ChildProcess child(shell("printf 'fcsa\\005\\000\\000\\000he' >&3"));
  EXPECT_EQ(child.receive(soon()).kind, Received::Kind::ended);
  EXPECT_EQ(child.ending(), "ended in the middle of a message; exited with status 0");
}

TEST(ChildProcess, KillsAChildThatSendsSomethingElseThanMessages) {
  ChildProcess child(shell("printf 'Hello world' >&3; sleep 100"));
  EXPECT_EQ(child.receive(soon()).kind, Received::Kind::ended);
  EXPECT_EQ(child.ending(), "a message does not begin with \"fcsa\"; killed by signal 9 (Killed)");
}

TEST(ChildProcess, KillsAChildThatAnnouncesAnAbsurdLength) {
  ChildProcess child(shell("printf 'fcsa\\377\\377\\377\\377' >&3; sleep 100"));
  EXPECT_EQ(child.receive(soon()).kind, Received::Kind::ended);
  EXPECT_NE(child.ending().find("the limit is"), std::string::npos) << child.ending();
}

TEST(ChildProcess, DoesNotHangWhenTheChildTakesNoMessages) {
  ChildProcess child(shell("sleep 100"));
  const std::string large(8 << 20, 'x');
  EXPECT_FALSE(child.send(large, std::chrono::steady_clock::now() + 50ms));
}

TEST(ChildProcess, FailsToSendToAChildThatHasEnded) {
  ChildProcess child(shell("exit 0"));
  ASSERT_TRUE(child.wait(soon()));
  EXPECT_FALSE(child.send("hello", soon()));
}

TEST(ChildProcess, ThrowsWhenTheProgramDoesNotExist) {
  EXPECT_THROW(ChildProcess({.command = {"/nowhere/fcsa"}}), std::system_error);
}

TEST(ChildProcess, TakesItsDescendantsAlong) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "pid";
  pid_t grandchild = 0;
  {
    ChildProcess child(shell("sleep 100 & echo $! > " + file.string() + "; wait"));
    ASSERT_TRUE(becomes_true([&] { return pid_in(file) != 0; }));
    grandchild = pid_in(file);
    EXPECT_TRUE(is_alive(grandchild));
  }
  EXPECT_TRUE(becomes_true([&] { return !is_alive(grandchild); }));
}

TEST(ChildProcess, NoticesTheEndOfAChildWhoseDescendantsLiveOn) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "pid";
  ChildProcess child(shell("sleep 100 & echo $! > " + file.string() + "; exit 3"));
  EXPECT_EQ(child.receive(soon()).kind, Received::Kind::ended);
  EXPECT_EQ(child.ending(), "exited with status 3");
  EXPECT_TRUE(becomes_true([&] { return !is_alive(pid_in(file)); }));
}

std::string open_descriptors() {
  ChildProcess child(shell("ls /proc/self/fd | wc -l"));
  EXPECT_TRUE(child.wait(soon()));
  return child.output();
}

TEST(ChildProcess, StartsWithoutTheDescriptorsOfItsParent) {
  const std::string alone = open_descriptors();
  const ChildProcess other(shell("sleep 100"));
  EXPECT_EQ(open_descriptors(), alone);
}

}  // namespace
}  // namespace fcsa::runner
