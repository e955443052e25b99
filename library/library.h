// What fcsa_library is: the devices that were used, and the plans that were made.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "library/databases.h"
#include "library/plan_cache.h"

namespace fcsa::library {

// Thread-safe.
class Library {
 public:
  explicit Library(const fcsa_options& options);
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  // A plan for the problem, retained for the caller. Throws Failure.
  Plan& plan(const fcsa_problem& problem);
  // Of CPU kernels; 0: as many as there are usable cores. Throws Failure.
  void set_num_threads(int threads);

 private:
  std::uint64_t context_of(const fcsa_problem& problem);
  const runner::CudaContexts& cuda();
  std::shared_ptr<DeviceKernels> device(std::int32_t kind, std::uint64_t context);
  std::shared_ptr<DeviceKernels> open_device(std::int32_t kind);

  const std::shared_ptr<Notes> notes_;
  const Databases databases_;
  const std::shared_ptr<Binaries> binaries_;

  std::mutex devices_mutex_;
  std::unique_ptr<const runner::CudaContexts> cuda_owned_;
  std::atomic<const runner::CudaContexts*> cuda_{nullptr};
  std::map<std::pair<std::int32_t, std::uint64_t>, std::shared_ptr<DeviceKernels>> devices_;
  int threads_ = 0;

  PlanCache plans_;
};

}  // namespace fcsa::library
