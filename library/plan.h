// What fcsa_plan is: a problem on a device, with everything decided that doesn't depend on pointers.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>

#include "library/device_kernels.h"
#include "library/omitted_gradients.h"
#include "library/request.h"

namespace fcsa::library {

// Thread-safe. Counted: made with one reference, gone with the last.
class Plan {
 public:
  Plan(std::shared_ptr<DeviceKernels> device, const Request& request, const std::shared_ptr<Notes>& notes);
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  bool shared() const { return references_.load(std::memory_order_acquire) > 1; }

  std::size_t workspace_bytes() const { return workspace_bytes_; }
  const char* describe();
  // These throw Failure, DeviceError, or what the launcher throws.
  void prepare();
  // `op` is what the caller asks for: that of the problem, or it is refused.
  void run(kernels::Op op, const fcsa_tensors& tensors, void* stream);

 private:
  ~Plan() = default;
  std::string text(const char* kernels) const;
  // Leaves out of the launches what is done for omitted gradients alone, and finds room for the others.
  void omit_gradients();
  // Whether the kernels write an lse that the caller has no use for.
  bool hides_lse() const { return request_.problem.op == kernels::Op::forward && !request_.writes_lse; }

  // What runs, once all of it is loaded; null before.
  const Kernel::Loaded* loaded() const;
  // The mask of the problem's lengths, written on the stream.
  const unsigned char* written_mask(const fcsa_tensors& tensors, const kernels::BackwardArgs& args,
                                    void* stream) const;

  std::atomic<int> references_{1};
  const std::shared_ptr<DeviceKernels> device_;
  const Request request_;
  const Selection selection_;
  const std::shared_ptr<Kernel> kernel_;
  const std::string notes_;
  const int record_slot_;  // of FCSA_RECORD
  kernels::LaunchPlan launches_, fallback_launches_;
  GradientScratch scratch_, fallback_scratch_;  // of a backward pass
  std::size_t lse_offset_ = 0;                  // in the workspace, when the forward pass writes it there
  bool writes_mask_ = false;                    // from lengths, into the workspace
  std::size_t mask_offset_ = 0;                 // there
  std::size_t workspace_bytes_ = 0;
  std::string unprepared_text_, prepared_text_;
  std::atomic<const char*> prepared_{nullptr};  // the text, once it is there
  std::once_flag described_;
};

}  // namespace fcsa::library
