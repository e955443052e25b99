// What fcsa_library is: the devices that were used, and the plans that were made.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

#include "library/databases.h"
#include "library/plan.h"

namespace fcsa::library {

// Thread-safe.
class Library {
 public:
  explicit Library(const fcsa_options& options);
  ~Library();
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  // A plan for the problem, retained for the caller. Throws Failure.
  Plan& plan(const fcsa_problem& problem);

 private:
  // The problem's bytes, of which none is padding, and the CUDA context.
  struct Key {
    fcsa_problem problem;
    std::uint64_t context;
    bool operator==(const Key& other) const { return std::memcmp(this, &other, sizeof(Key)) == 0; }
  };
  static_assert(sizeof(Key) == sizeof(std::size_t) + 24 * 4 + 5 * sizeof(fcsa_strides) + 8 + 8);
  struct Hash {
    std::size_t operator()(const Key& key) const;
  };

  std::uint64_t context_of(const fcsa_problem& problem);
  const runner::CudaContexts& cuda();
  Plan& add(const Key& key);
  std::shared_ptr<DeviceKernels> device(const Key& key);
  std::shared_ptr<DeviceKernels> open_device(std::int32_t kind);
  void forget_unused();

  const std::shared_ptr<Notes> notes_;
  const Databases databases_;
  const bool wants_tuned_data_;
  const std::shared_ptr<Binaries> binaries_;

  std::mutex devices_mutex_;
  std::unique_ptr<const runner::CudaContexts> cuda_owned_;
  std::atomic<const runner::CudaContexts*> cuda_{nullptr};
  std::map<std::pair<std::int32_t, std::uint64_t>, std::shared_ptr<DeviceKernels>> devices_;

  std::shared_mutex plans_mutex_;
  std::unordered_map<Key, Plan*, Hash> plans_;  // one reference each
};

}  // namespace fcsa::library
