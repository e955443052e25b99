// Memory of the CPU device.
#pragma once

#include <cstddef>

#include "runner/device/device.h"

namespace fcsa::runner::cpu {

// Pages straight from the kernel, so that they are given back at once; resident from the start. A page
// without access follows the last one.
class HostBuffer final : public Buffer {
 public:
  static constexpr std::size_t kPageBytes = 4096;

  // Throws OutOfMemory when less than bytes and a reserve for the rest of the process is available.
  explicit HostBuffer(std::size_t bytes);
  ~HostBuffer() override;
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  void* data() const override { return data_; }
  std::size_t bytes() const override { return bytes_; }

 private:
  std::size_t bytes_;
  std::size_t mapped_bytes_;
  void* data_ = nullptr;
};

}  // namespace fcsa::runner::cpu
