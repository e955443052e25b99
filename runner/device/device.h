// A device that runs kernels: the same interface for CUDA and for the CPU. Used only inside a worker process.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/family.h"
#include "tuner/trials/trial.h"

namespace fcsa::runner {

// The device refused or failed: the CUDA call, its error name and text. A sticky error (illegal access)
// poisons the process: the worker ends and the parent starts another.
class DeviceError : public std::runtime_error {
 public:
  DeviceError(const std::string& what, bool sticky) : std::runtime_error(what), sticky_(sticky) {}
  bool sticky() const { return sticky_; }

 private:
  bool sticky_;
};

class OutOfMemory : public std::runtime_error {
 public:
  explicit OutOfMemory(const std::string& what, std::size_t missing_bytes = 0)
      : std::runtime_error(what), missing_bytes_(missing_bytes) {}
  // With so many more it would have fitted; 0 where that isn't known.
  std::size_t missing_bytes() const { return missing_bytes_; }

 private:
  std::size_t missing_bytes_;
};

// Device memory, freed on destruction. data() is a device pointer on a GPU.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual void* data() const = 0;
  virtual std::size_t bytes() const = 0;
};

// A loaded binary with its entry points. `owner` device only.
class Module {
 public:
  virtual ~Module() = default;
};

// What the compiler made: the file in the cache and the names of its entry points.
struct Binary {
  std::string path;  // .cubin or .so; CPU: "builtin:" and a problem's text for built-in kernels
  std::vector<std::string> symbols;  // lowered names, in the order of KernelSource::entries
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const kernels::DeviceInfo& info() const = 0;
  virtual std::unique_ptr<Module> load(const Binary& binary) = 0;
  virtual std::unique_ptr<Buffer> allocate(std::size_t bytes) = 0;  // 256-byte aligned; throws OutOfMemory
  // Not 0: buffers are aligned to so many bytes, and behind those whose size is a multiple of it lies a page
  // without access.
  virtual std::size_t fence_bytes() const { return 0; }
  // From now on every launch, or none, finds NaN in memory that kernels share between launches besides
  // buffers: the scratch of CPU threads. On a GPU without effect.
  virtual void poison_scratch(bool) {}
  virtual void upload(Buffer& to, std::size_t offset, const void* from, std::size_t bytes) = 0;
  virtual void download(void* to, const Buffer& from, std::size_t offset, std::size_t bytes) = 0;
  virtual void fill(Buffer& buffer, std::size_t offset, unsigned char value, std::size_t bytes) = 0;
  // Enqueues every step of the plan in order. CUDA: asynchronous on the device's stream. CPU: runs to
  // completion.
  virtual void launch(const Module& module, const kernels::LaunchPlan& plan,
                      const kernels::BackwardArgs& args) = 0;
  virtual void synchronize() = 0;  // throws DeviceError
  // Time between the start and the end of what `enqueue` launches. CUDA: events on the stream. CPU: steady
  // clock.
  virtual double time_ms(const std::function<void()>& enqueue) = 0;
  virtual tuner::Clocks clocks() = 0;
  // Resets and reads the high-water mark of memory that this process uses on the device beyond what it used
  // at the reset. CUDA: allocations of this process. CPU: resident set (VmHWM), so thread scratch counts.
  virtual void reset_peak_memory() = 0;
  virtual std::size_t peak_memory_bytes() = 0;
};

// One row of `fcsa devices`.
struct DeviceReport {
  kernels::DeviceInfo info;
  bool usable = false;
  std::string missing;  // what is missing and how to get it; empty when usable
};

// Everything that could run here, CPU last; and the libraries looked for with where they were found. Never
// throws for missing hardware. Loads libcuda and NVRTC: call it in a child process (runner/worker) only.
struct Inventory {
  struct Library {
    std::string name, version, path, problem;  // problem empty when usable
  };
  std::vector<DeviceReport> devices;
  std::vector<Library> libraries;
};
Inventory take_inventory();

// "cpu", "cuda:N". Throws std::invalid_argument for a malformed selector, std::runtime_error when it isn't
// there.
std::unique_ptr<Device> open_device(const std::string& selector);

}  // namespace fcsa::runner
