// A loop over independent items on all cores.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/cpu/cores.h"

namespace fcsa::kernels {

inline std::size_t core_count() {
  return static_cast<std::size_t>(cpu::allowed_cores());
}

// Calls body(item) for every item below `count`, on at most `threads` threads including the caller's. The
// first exception ends the loop early and is thrown again here.
template <typename Body>
void parallel_for(std::size_t count, const Body& body, std::size_t threads = core_count()) {
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto work = [&] {
    try {
      for (std::size_t item = next++; item < count; item = next++) body(item);
    } catch (...) {
      next = count;
      const std::lock_guard lock(failure_mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (std::size_t i = 1; i < std::min(threads, count); ++i) helpers.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace fcsa::kernels
