// A device as a part of somebody else's program sees it, which is what libfcsa is: kernels are launched in
// the caller's CUDA context and on the caller's stream, and nothing else about the device is touched.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "kernels/common/key_lengths.h"
#include "runner/device/device.h"

namespace fcsa::runner {

// Thread-safe. Calls throw DeviceError when the device refuses.
class Launcher {
 public:
  virtual ~Launcher() = default;
  virtual const kernels::DeviceInfo& info() const = 0;
  virtual std::unique_ptr<Module> load(const Binary& binary) const = 0;
  // Allocates what the launches of a plan need besides its workspace: launch() then allocates nothing.
  virtual void reserve(const kernels::LaunchPlan& plan) = 0;
  // Runs every step of the plan in order. CUDA: enqueued on `stream`, a CUstream of the launcher's context,
  // whatever context the calling thread has current or none; std::invalid_argument when it is that of another
  // launcher. CPU: `stream` is not looked at; returns when the kernels have finished.
  virtual void launch(const Module& module, const kernels::LaunchPlan& plan,
                      const kernels::BackwardArgs& args, void* stream) = 0;
  // What write_mask() is to be given, compiled and loaded; CPU: nothing.
  virtual std::optional<kernels::KernelSource> mask_source() const { return std::nullopt; }
  // Writes a key mask from lengths, on the stream as launch() does. `module`: of mask_source(); CPU: null.
  virtual void write_mask(const Module* module, const kernels::KeyLengths& lengths, void* stream) = 0;
  // CPU: how many threads launches use from the next one on; 0: as many as there are usable cores.
  virtual void set_threads(int /*threads*/) {}
  // Whether launches on the stream become part of a CUDA graph.
  virtual bool capturing(void* stream) const = 0;
};

// On all usable cores.
std::unique_ptr<Launcher> make_cpu_launcher();

// The CUDA contexts that the threads of this process have made current.
class CudaContexts {
 public:
  // Loads the driver. Throws std::runtime_error that says what is missing and how to get it.
  CudaContexts();
  ~CudaContexts();

  // Which context is current in the calling thread; no other one of this process ever has the same number.
  std::optional<std::uint64_t> current() const;
  // Into the context that is current in the calling thread, which has to outlive the launcher's use.
  std::unique_ptr<Launcher> attach() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fcsa::runner
