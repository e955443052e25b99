// How many cores this process may use. Standard headers only: also pasted into emitted headers.
#pragma once

#include <sched.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace fcsa::kernels::cpu {

// The quota of control groups, versions 1 and 2: of the group that this process is in and of those around it.
class CpuQuota {
 public:
  // Cores that it pays for, rounded up; 0: no limit found. Reads /proc and /sys below `root`.
  static int cores(const char* root = "") {
    CpuQuota quota(root);
    // In a container /proc names a group that isn't there; what it has is mounted at these places.
    quota.take("/sys/fs/cgroup");
    quota.take("/sys/fs/cgroup/cpu");
    quota.take("/sys/fs/cgroup/cpu,cpuacct");
    quota.take_own_groups();
    return quota.cores_;
  }

 private:
  static constexpr std::size_t kLongest = 4096;
  struct File {
    explicit File(const char* path) : handle(std::fopen(path, "re")) {}
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() {
      if (handle != nullptr) std::fclose(handle);
    }
    bool line(char (&text)[kLongest]) {
      if (handle == nullptr || std::fgets(text, sizeof(text), handle) == nullptr) return false;
      text[std::strcspn(text, "\n")] = 0;
      return true;
    }
    std::FILE* handle;
  };
  struct Path {
    char text[kLongest];
    Path(const char* root, const char* folder, const char* file) {
      if (std::snprintf(text, sizeof(text), "%s%s%s", root, folder, file) >= static_cast<int>(sizeof(text)))
        text[0] = 0;
    }
  };

  explicit CpuQuota(const char* root) : root_(root) {}

  long long number(const char* folder, const char* file) const {
    long long value = 0;
    File opened(Path(root_, folder, file).text);
    return opened.handle != nullptr && std::fscanf(opened.handle, "%lld", &value) == 1 ? value : 0;
  }

  void take(const char* folder) {
    long long quota = 0, period = 0;
    File version_2(Path(root_, folder, "/cpu.max").text);
    if (version_2.handle == nullptr || std::fscanf(version_2.handle, "%lld %lld", &quota, &period) != 2) {
      quota = number(folder, "/cpu.cfs_quota_us");
      period = number(folder, "/cpu.cfs_period_us");
    }
    if (quota <= 0 || period <= 0) return;
    const long long cores = (quota + period - 1) / period;
    if (cores_ == 0 || cores < cores_) cores_ = static_cast<int>(cores < 65536 ? cores : 65536);
  }

  // `group` below `mount`, and every folder between the two.
  void take_up_from(const char* mount, const char* group) {
    char folder[kLongest];
    if (std::snprintf(folder, sizeof(folder), "%s%s", mount, group) >= static_cast<int>(sizeof(folder)))
      return;
    const std::size_t shortest = std::strlen(mount);
    for (std::size_t length = std::strlen(folder); length > shortest;) {
      take(folder);
      while (length > shortest && folder[length - 1] != '/') --length;
      if (length > shortest) folder[--length] = 0;
    }
  }

  // Whether a list with commas in between has the word.
  static bool lists(const char* list, std::size_t length, const char* word) {
    const std::size_t wanted = std::strlen(word);
    for (std::size_t begin = 0; begin <= length;) {
      const std::size_t end = begin + std::strcspn(list + begin, ",: \n");
      if (end - begin == wanted && std::strncmp(list + begin, word, wanted) == 0) return true;
      begin = end + 1;
    }
    return false;
  }

  // Lines of /proc/self/cgroup: "number:controllers:/group", the controllers empty in version 2.
  void take_own_groups() {
    char line[kLongest];
    for (File groups(Path(root_, "/proc/self/cgroup", "").text); groups.line(line);) {
      char* controllers = std::strchr(line, ':');
      char* group = controllers != nullptr ? std::strchr(controllers + 1, ':') : nullptr;
      if (group == nullptr) continue;
      *group++ = 0;
      ++controllers;
      const bool version_2 = *controllers == 0;
      if (!version_2 && !lists(controllers, std::strlen(controllers), "cpu")) continue;
      take_group(version_2, group);
    }
  }

  // Where the hierarchy is mounted is told by /proc/self/mountinfo: "id parent device root mount ... - type
  // source options".
  void take_group(bool version_2, const char* group) {
    take_up_from("/sys/fs/cgroup", group);
    if (!version_2) take_up_from("/sys/fs/cgroup/cpu", group);
    char line[kLongest], top[kLongest], mount[kLongest], type[64], options[kLongest];
    for (File mounts(Path(root_, "/proc/self/mountinfo", "").text); mounts.line(line);) {
      const char* rest = std::strstr(line, " - ");
      if (rest == nullptr || std::sscanf(line, "%*s %*s %*s %4095s %4095s", top, mount) != 2 ||
          std::sscanf(rest, " - %63s %*s %4095s", type, options) != 2)
        continue;
      const bool matches =
          version_2 ? std::strcmp(type, "cgroup2") == 0
                    : std::strcmp(type, "cgroup") == 0 && lists(options, std::strlen(options), "cpu");
      if (!matches) continue;
      take(mount);
      const std::size_t above = std::strcmp(top, "/") == 0 ? 0 : std::strlen(top);
      if (std::strncmp(group, top, above) == 0) take_up_from(mount, group + above);
    }
  }

  const char* root_;
  int cores_ = 0;
};

// Of the affinity mask, at most those that the quota pays for; at least 1.
inline int allowed_cores(const char* root = "") {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  // The mask may be wider than cpu_set_t's 1024 cores.
  for (int widest = 1024; widest <= 65536; widest *= 4) {
    cpu_set_t* mask = CPU_ALLOC(widest);
    const std::size_t bytes = CPU_ALLOC_SIZE(widest);
    const bool told = mask != nullptr && sched_getaffinity(0, bytes, mask) == 0;
    if (told) cores = CPU_COUNT_S(bytes, mask);
    CPU_FREE(mask);
    if (told) break;
  }
#endif
  const int quota = CpuQuota::cores(root);
  if (quota > 0 && quota < cores) cores = quota;
  return cores > 0 ? cores : 1;
}

// FCSA_NUM_THREADS when it is a number above 0, else allowed_cores().
inline int usable_cores() {
  if (const char* text = std::getenv("FCSA_NUM_THREADS")) {
    const int wanted = std::atoi(text);
    if (wanted > 0) return wanted < 1024 ? wanted : 1024;
  }
  return allowed_cores();
}

}  // namespace fcsa::kernels::cpu
