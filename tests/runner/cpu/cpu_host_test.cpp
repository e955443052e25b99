#include "runner/cpu/host.h"

#include <gtest/gtest.h>

#include "kernels/cpu/cores.h"
#include "runner/process/temporary_directory.h"
#include "tests/runner/write_file.h"

namespace fcsa::runner::cpu {
namespace {

using fcsa::testing::write_file;

constexpr std::size_t kMiB = std::size_t{1} << 20;

TEST(Host, TakesWhatTheKernelCallsAvailable) {
  const TemporaryDirectory root;
  write_file(root.path() / "proc/meminfo",
             "MemTotal:       16777216 kB\nMemFree:  1024 kB\nMemAvailable:    8388608 kB\n");
  EXPECT_EQ(Host(root.path()).memory_bytes(), 16384 * kMiB);
  EXPECT_EQ(Host(root.path()).available_memory_bytes(), 8192 * kMiB);
}

TEST(Host, CutsAvailableMemoryToTheControlGroupNotCountingPageCache) {
  const TemporaryDirectory root;
  write_file(root.path() / "proc/meminfo", "MemAvailable:    8388608 kB\n");
  write_file(root.path() / "proc/self/cgroup", "0::/job/step\n");
  write_file(root.path() / "sys/fs/cgroup/job/memory.max", std::to_string(1000 * kMiB) + "\n");
  write_file(root.path() / "sys/fs/cgroup/job/memory.current", std::to_string(700 * kMiB) + "\n");
  write_file(root.path() / "sys/fs/cgroup/job/memory.stat",
             "anon 5\ninactive_file " + std::to_string(100 * kMiB) + "\n");
  write_file(root.path() / "sys/fs/cgroup/job/step/memory.max", "max\n");
  write_file(root.path() / "sys/fs/cgroup/job/step/memory.current", "4096\n");
  EXPECT_EQ(Host(root.path()).available_memory_bytes(), 400 * kMiB);
}

TEST(Host, CutsCoresToTheQuotaOfEitherControlGroupVersion) {
  const TemporaryDirectory version_2;
  write_file(version_2.path() / "proc/self/cgroup", "0::/\n");
  write_file(version_2.path() / "sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(Host(version_2.path()).usable_cores(), 1);
  const TemporaryDirectory version_1;
  write_file(version_1.path() / "proc/self/cgroup", "4:cpu,cpuacct:/docker/abc\n");
  write_file(version_1.path() / "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  write_file(version_1.path() / "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Host(version_1.path()).usable_cores(), 1);
}

TEST(Host, FindsTheQuotaWhereverControlGroupsAreMountedAndTheProcessIsInThem) {
  const TemporaryDirectory nested;
  write_file(nested.path() / "proc/self/cgroup", "0::/job/step\n");
  write_file(nested.path() / "sys/fs/cgroup/job/cpu.max", "100000 100000\n");
  write_file(nested.path() / "sys/fs/cgroup/job/step/cpu.max", "max 100000\n");
  EXPECT_EQ(Host(nested.path()).usable_cores(), 1);
  const TemporaryDirectory elsewhere;
  write_file(elsewhere.path() / "proc/self/cgroup", "3:memory:/a\n2:cpuacct,cpu:/slurm/a\n");
  write_file(elsewhere.path() / "proc/self/mountinfo",
             "30 23 0:26 / /cgroups/memory rw - cgroup cgroup rw,memory\n"
             "31 23 0:27 /slurm /cgroups/all rw,nosuid shared:9 - cgroup cgroup rw,cpuacct,cpu\n");
  write_file(elsewhere.path() / "cgroups/all/a/cpu.cfs_quota_us", "50000\n");
  write_file(elsewhere.path() / "cgroups/all/a/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Host(elsewhere.path()).usable_cores(), 1);
  const TemporaryDirectory hybrid;
  write_file(hybrid.path() / "proc/self/cgroup", "4:cpu,cpuacct:/x\n0::/y\n");
  write_file(hybrid.path() / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
  write_file(hybrid.path() / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Host(hybrid.path()).usable_cores(), 1);
}

TEST(Host, TakesNoLimitAndGarbageForNoQuota) {
  for (const char* text : {"max 100000\n", "", "garbage\n", "-1 100000\n", "100000 0\n"}) {
    const TemporaryDirectory root;
    write_file(root.path() / "proc/self/cgroup", "0::/\n");
    write_file(root.path() / "sys/fs/cgroup/cpu.max", text);
    EXPECT_EQ(kernels::cpu::CpuQuota::cores(root.path().c_str()), 0) << text;
  }
}

TEST(Host, WithoutAQuotaHasTheCoresOfTheAffinityMask) {
  const TemporaryDirectory root;
  write_file(root.path() / "proc/self/cgroup", "0::/\n");
  write_file(root.path() / "sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(Host(root.path()).usable_cores(), Host(root.path() / "nothing").usable_cores());
}

TEST(Host, FindsDataCachesAndTheClock) {
  const TemporaryDirectory root;
  write_file(root.path() / "sys/devices/system/cpu/cpu0/cache/index0/level", "1\n");
  write_file(root.path() / "sys/devices/system/cpu/cpu0/cache/index0/type", "Instruction\n");
  write_file(root.path() / "sys/devices/system/cpu/cpu0/cache/index0/size", "64K\n");
  write_file(root.path() / "sys/devices/system/cpu/cpu0/cache/index1/level", "1\n");
  write_file(root.path() / "sys/devices/system/cpu/cpu0/cache/index1/type", "Data\n");
  write_file(root.path() / "sys/devices/system/cpu/cpu0/cache/index1/size", "48K\n");
  EXPECT_EQ(Host(root.path()).cache_bytes(1), 48U * 1024);
  EXPECT_EQ(Host(root.path()).cache_bytes(2), 0U);
  EXPECT_EQ(Host(root.path()).core_mhz(), 0);
}

TEST(Host, NamesTheProcessor) {
  const TemporaryDirectory root;
  EXPECT_EQ(Host(root.path()).model_name(), "unknown CPU");
  write_file(root.path() / "proc/cpuinfo",
             "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t\t: fpu avx2\n");
  EXPECT_EQ(Host(root.path()).model_name(), "Some CPU @ 3 GHz");
  EXPECT_EQ(Host(root.path()).instruction_flags(), "fpu avx2");
}

}  // namespace
}  // namespace fcsa::runner::cpu
