// CUDA resources that free themselves. Destructors ignore errors: after a sticky error every call fails, and
// the process is about to end.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <memory>

#include "runner/cuda/driver.h"
#include "runner/device/device.h"

namespace fcsa::runner::cuda {

// Where modules, streams and memory live: the primary context of a device, or one of the caller's. Shared by
// everything that lives in it.
class Context {
 public:
  // The primary context of a device, retained; current in the calling thread from now on.
  static std::shared_ptr<const Context> primary(std::shared_ptr<const Driver> driver, CUdevice device);
  // The one that is current in the calling thread, whose owner keeps it. Throws DeviceError when none is.
  static std::shared_ptr<const Context> current(std::shared_ptr<const Driver> driver);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Driver& driver() const { return *driver_; }
  CUcontext get() const { return context_; }
  CUdevice device() const { return device_; }
  int multiprocessors() const { return multiprocessors_; }
  int smem_per_block_bytes() const { return smem_per_block_bytes_; }  // a block may ask for

  // Calls that need a context: it is current in this thread while this object lives, and then what was
  // before.
  class Active {
   public:
    explicit Active(const Context& context);
    ~Active();
    Active(const Active&) = delete;
    Active& operator=(const Active&) = delete;

   private:
    const Driver* pushed_ = nullptr;  // null: it was current already
  };

 private:
  Context(std::shared_ptr<const Driver> driver, CUdevice device);

  std::shared_ptr<const Driver> driver_;
  CUdevice device_;
  CUcontext context_ = nullptr;
  bool retained_ = false;
  int multiprocessors_;
  int smem_per_block_bytes_;
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

}  // namespace fcsa::runner::cuda
