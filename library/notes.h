// What the library does without, said once and kept for fcsa_describe.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace fcsa::library {

// Thread-safe.
class Notes {
 public:
  using Log = std::function<void(const std::string& line)>;
  explicit Notes(Log log) : log_(std::move(log)) {}

  void say(const std::string& line) {
    {
      const std::lock_guard lock(mutex_);
      lines_.push_back(line);
    }
    log_(line);
  }
  std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  Log log_;
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

}  // namespace fcsa::library
