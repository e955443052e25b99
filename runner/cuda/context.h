// CUDA resources that free themselves. Destructors ignore errors: after a sticky error every call fails, and
// the process is about to end.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <memory>
#include <vector>

#include "runner/cuda/driver.h"
#include "runner/device.h"

namespace fcsa::runner::cuda {

// The primary context of a device, retained. Shared by everything that lives in it.
class Context {
 public:
  Context(std::shared_ptr<const Driver> driver, CUdevice device);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // To be called before any other call that needs a context: the caller's thread may have another one
  // current.
  void make_current() const;
  const Driver& driver() const { return *driver_; }

 private:
  std::shared_ptr<const Driver> driver_;
  CUdevice device_;
  CUcontext context_ = nullptr;
};

class Stream {
 public:
  explicit Stream(std::shared_ptr<const Context> context);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  CUstream get() const { return stream_; }

 private:
  std::shared_ptr<const Context> context_;
  CUstream stream_ = nullptr;
};

class Event {
 public:
  explicit Event(std::shared_ptr<const Context> context);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  CUevent get() const { return event_; }

 private:
  std::shared_ptr<const Context> context_;
  CUevent event_ = nullptr;
};

// Bytes given out by allocate() and their high-water mark.
struct AllocationCount {
  std::size_t current = 0;
  std::size_t highest = 0;

  void add(std::size_t bytes) { highest = std::max(highest, current += bytes); }
  void subtract(std::size_t bytes) { current -= bytes; }
};

class CudaBuffer final : public Buffer {
 public:
  // Throws OutOfMemory.
  CudaBuffer(std::shared_ptr<const Context> context, std::shared_ptr<AllocationCount> count,
             std::size_t bytes);
  ~CudaBuffer() override;
  void* data() const override { return std::bit_cast<void*>(pointer_); }
  std::size_t bytes() const override { return bytes_; }

 private:
  std::shared_ptr<const Context> context_;
  std::shared_ptr<AllocationCount> count_;
  std::size_t bytes_;
  CUdeviceptr pointer_ = 0;
};

class CudaModule final : public Module {
 public:
  CudaModule(std::shared_ptr<const Context> context, const Binary& binary);
  ~CudaModule() override;

  // Entry point `index`, allowed to use that much dynamic shared memory.
  CUfunction function(int index, unsigned smem_bytes) const;

 private:
  struct Entry {
    CUfunction function = nullptr;
    unsigned smem_allowed = 0;
  };
  void find_entries(const Binary& binary);

  std::shared_ptr<const Context> context_;
  CUmodule module_ = nullptr;
  mutable std::vector<Entry> entries_;
};

}  // namespace fcsa::runner::cuda
