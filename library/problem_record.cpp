#include "library/problem_record.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "library/fork.h"
#include "tuner/workloads/recorded_line.h"

namespace fcsa::library {
namespace {

// Of one value of FCSA_RECORD.
struct RecordFile {
  std::string pattern;
  std::weak_ptr<Notes> notes;
  int descriptor = -1;
  bool begun = false;   // its header was written by this process
  bool torn = false;    // ends with a part of a line
  bool failed = false;  // which was said
};

struct Slot {
  RecordFile* file;
  std::string fields;                   // of the problem, for its lines
  std::atomic<std::uint64_t> calls{0};  // of all threads, as far as they told
};

std::string host_name() {
  char name[256] = "";
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

// With milliseconds, which tell processes of one id apart.
std::string now_text() {
  using namespace std::chrono;
  const auto now = time_point_cast<milliseconds>(system_clock::now());
  const std::time_t seconds = system_clock::to_time_t(now);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32] = "";
  std::strftime(text, sizeof(text), "%FT%T", &utc);
  return fmt::format("{}.{:03}Z", text, now.time_since_epoch().count() % 1000);
}

std::string with_pid(std::string pattern) {
  const std::string pid = std::to_string(getpid());
  for (auto place = pattern.find("%p"); place != std::string::npos;
       place = pattern.find("%p", place + pid.size()))
    pattern.replace(place, 2, pid);
  return pattern;
}

// Of this process. Never destroyed: threads count until they end.
class ProblemRecord : public HeldDuringFork {
 public:
  ProblemRecord() { hold_during_fork(*this); }

  std::uint32_t generation() const { return generation_.load(std::memory_order_relaxed); }

  int slot(const std::string& pattern, const std::string& fields, const std::shared_ptr<Notes>& notes) {
    bool full = false;
    {
      const std::lock_guard lock(mutex_);
      RecordFile& file = files_[pattern];
      file.pattern = pattern;
      file.notes = notes;
      const auto [place, added] = known_.try_emplace({&file, fields}, -1);
      if (!added) return place->second;
      if (used_ < kMostRecordedProblems) {
        slots_[static_cast<std::size_t>(used_)].store(new Slot{&file, fields}, std::memory_order_release);
        return place->second = used_++;
      }
      known_.erase(place);
      full = !std::exchange(full_, true);
    }
    if (full)
      notes->say(
          fmt::format("FCSA_RECORD: {} different problems are counted, and no more", kMostRecordedProblems));
    return -1;
  }

  // So many more calls than the thread has told before.
  void add(int index, std::uint64_t calls) {
    Slot& slot = *slots_[static_cast<std::size_t>(index)].load(std::memory_order_acquire);
    const std::uint64_t before = slot.calls.fetch_add(calls, std::memory_order_relaxed);
    if (std::bit_width(before) == std::bit_width(before + calls)) return;
    std::string failure;
    std::shared_ptr<Notes> notes;
    {
      const std::lock_guard lock(mutex_);
      failure = append(*slot.file, slot.fields, before + calls);
      notes = slot.file->notes.lock();
    }
    if (failure.empty()) return;
    if (notes)
      notes->say(failure);
    else
      std::fprintf(stderr, "fcsa: %s\n", failure.c_str());
  }

  void lock_all() override { mutex_.lock(); }
  void unlock_all() override { mutex_.unlock(); }
  // In the child, where nothing was called yet.
  void renew_all() override {
    new (&mutex_) std::mutex;
    generation_.fetch_add(1, std::memory_order_relaxed);
    started_.clear();
    for (int i = 0; i < used_; ++i)
      slots_[static_cast<std::size_t>(i)]
          .load(std::memory_order_relaxed)
          ->calls.store(0, std::memory_order_relaxed);
    for (auto& [pattern, file] : files_) {
      if (file.descriptor >= 0) close(file.descriptor);
      file.descriptor = -1;
      file.begun = false;
    }
  }

 private:
  // What is to be said; empty: nothing.
  std::string append(RecordFile& file, const std::string& fields, std::uint64_t calls) {
    if (started_.empty()) started_ = now_text();
    const std::string path = with_pid(file.pattern);
    if (file.descriptor < 0)
      file.descriptor = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
    if (file.descriptor < 0) return failure(file, path, errno);
    // What is cut off ends here, so that only that is lost.
    std::string text = file.torn ? "\n" : "";
    if (!file.begun) text += tuner::recorded_header();
    text += tuner::recorded_line({host_name(), getpid(), started_}, fields, calls);
    ssize_t written = -1;
    do written = write(file.descriptor, text.data(), text.size());
    while (written < 0 && errno == EINTR);
    if (written == static_cast<ssize_t>(text.size())) {
      file.begun = true;
      file.torn = false;
      return {};
    }
    file.torn = file.torn || written > 0;
    return failure(file, path, written < 0 ? errno : ENOSPC);
  }

  static std::string failure(RecordFile& file, const std::string& path, int error) {
    if (std::exchange(file.failed, true)) return {};
    return fmt::format(
        "FCSA_RECORD: cannot write {}: {}; calls are counted all the same, and lines are tried "
        "again",
        path, std::strerror(error));
  }

  std::mutex mutex_;
  std::map<std::string, RecordFile> files_;  // by pattern
  std::map<std::pair<RecordFile*, std::string>, int> known_;
  std::array<std::atomic<Slot*>, kMostRecordedProblems> slots_{};
  int used_ = 0;
  bool full_ = false;
  std::string started_;  // this process, as far as lines say
  std::atomic<std::uint32_t> generation_{1};
};

ProblemRecord& record() {
  static ProblemRecord& one = *new ProblemRecord;
  return one;
}

// What a thread has called, so that threads don't meet at a count.
class ThreadCalls {
 public:
  ThreadCalls() = default;
  ThreadCalls(const ThreadCalls&) = delete;
  ThreadCalls& operator=(const ThreadCalls&) = delete;
  ~ThreadCalls() {
    if (generation_ != record().generation()) return;
    for (std::size_t slot = 0; slot < own_.size(); ++slot) tell(slot);
  }

  void count(std::size_t slot) {
    if (generation_ != record().generation()) {
      own_.clear();
      generation_ = record().generation();
    }
    if (slot >= own_.size()) own_.resize(slot + 1);
    if (std::has_single_bit(++own_[slot].calls)) tell(slot);
  }

 private:
  struct Calls {
    std::uint64_t calls = 0, told = 0;
  };

  void tell(std::size_t slot) {
    auto& [calls, told] = own_[slot];
    if (calls == told) return;
    record().add(static_cast<int>(slot), calls - std::exchange(told, calls));
  }

  std::uint32_t generation_ = 0;
  std::vector<Calls> own_;
};

thread_local ThreadCalls thread_calls;

}  // namespace

int record_slot(const kernels::Problem& problem, kernels::DeviceKind device,
                const std::shared_ptr<Notes>& notes) {
  const char* pattern = std::getenv("FCSA_RECORD");
  if (pattern == nullptr || *pattern == '\0') return -1;
  return record().slot(pattern, tuner::recorded_fields(problem, device), notes);
}

void count_call(int slot) {
  if (slot >= 0) thread_calls.count(static_cast<std::size_t>(slot));
}

}  // namespace fcsa::library
