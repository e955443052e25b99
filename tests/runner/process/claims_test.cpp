#include "runner/process/claims.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>

#include "runner/compile/binary_cache.h"
#include "runner/process/temporary_directory.h"
#include "tests/runner/processes.h"
#include "tests/runner/scoped_environment.h"

namespace fcsa::runner {
namespace {

namespace fs = std::filesystem;

// Runs what kills itself.
template <typename Act>
void in_a_process_of_its_own(Act act) {
  const pid_t child = ::fork();
  if (child == 0) act();
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
}

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(Claims, OnlyWhatIsNamedAndNotClaimedIsRemoved) {
  const TemporaryDirectory folder;
  for (const char* name : {"mine1", "mine2", "other"}) std::ofstream(folder.path() / name) << "text";
  const FileDescriptor file(::open((folder.path() / "mine2").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(claim(file));
  remove_abandoned(folder.path(), [](const std::string& name) { return name.starts_with("mine"); });
  EXPECT_FALSE(fs::exists(folder.path() / "mine1"));
  EXPECT_TRUE(fs::exists(folder.path() / "mine2"));
  EXPECT_TRUE(fs::exists(folder.path() / "other"));
}

TEST(Claims, AFileThatWasRemovedBeforeItWasClaimedIsNotClaimed) {
  const TemporaryDirectory folder;
  std::ofstream(folder.path() / "mine") << "text";
  const FileDescriptor file(::open((folder.path() / "mine").c_str(), O_RDONLY | O_CLOEXEC));
  remove_abandoned(folder.path(), [](const std::string&) { return true; });
  EXPECT_FALSE(claim(file));
}

TEST(TemporaryDirectory, OfAKilledProcessIsRemovedByTheNextAndOthersStay) {
  const TemporaryDirectory folder;
  const testing::ScopedEnvironment place("TMPDIR", folder.path().string());
  const TemporaryDirectory alive;
  in_a_process_of_its_own([] {
    const TemporaryDirectory left;
    std::ofstream(left.path() / "file") << "text";
    ::raise(SIGKILL);
  });
  EXPECT_EQ(entries(folder.path()), 2U);
  TemporaryDirectory::remove_abandoned();
  EXPECT_EQ(entries(folder.path()), 1U);
  EXPECT_TRUE(fs::exists(alive.path()));
}

TEST(BinaryCache, HalfWrittenFilesOfKilledProcessesAreRemoved) {
  const TemporaryDirectory folder;
  const BinaryCache cache(folder.path());
  CompileResult result;
  result.binary = "code";
  cache.store("whole", kernels::DeviceKind::cpu, result);
  std::string host(64, '\0');
  ASSERT_EQ(::gethostname(host.data(), host.size() - 1), 0);
  const std::string ours = std::string("half.so.") + host.c_str() + ".1.0.tmp";
  std::ofstream(folder.path() / ours) << "co";
  std::ofstream(folder.path() / "half.so.another-machine.1.0.tmp") << "co";
  cache.remove_abandoned();
  EXPECT_FALSE(fs::exists(folder.path() / ours));
  EXPECT_TRUE(fs::exists(folder.path() / "half.so.another-machine.1.0.tmp"));
  EXPECT_TRUE(cache.find("whole"));
}

}  // namespace
}  // namespace fcsa::runner
