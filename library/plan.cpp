#include "library/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "library/failure.h"
#include "library/fork.h"
#include "library/problem_record.h"

namespace fcsa::library {
namespace {

std::size_t round_up_256(std::size_t bytes) {
  return (bytes + 255) / 256 * 256;
}

std::string joined(const Notes& notes) {
  std::string text;
  for (const auto& line : notes.lines()) text += fmt::format("note: {}\n", line);
  return text;
}

void require_op(kernels::Op asked, kernels::Op planned) {
  if (asked == planned) return;
  refuse(planned == kernels::Op::backward
             ? "the plan was made for a problem whose op is FCSA_BACKWARD: call fcsa_backward, or make one "
               "for FCSA_FORWARD"
             : "the plan was made for a problem whose op is FCSA_FORWARD: call fcsa_forward, or make one for "
               "FCSA_BACKWARD");
}

}  // namespace

Plan::Plan(std::shared_ptr<DeviceKernels> device, const Request& request, const std::shared_ptr<Notes>& notes)
    : device_(std::move(device)),
      request_(request),
      selection_(device_->select(request_.kernel_problem())),
      kernel_(device_->kernel(request_.kernel_problem(), selection_)),
      notes_(joined(*notes)),
      record_slot_(request.is_empty() ? -1
                                      : record_slot(request_.problem, device_->info().target.kind, notes)) {
  launches_ =
      selection_.family->plan(kernels::traits_of(request_.problem), selection_.configuration, request_.args);
  long long bytes = launches_.workspace_bytes;
  if (kernel_->fallback()) {
    fallback_launches_ = kernel_->fallback()->plan(request_.args);
    bytes = std::max(bytes, fallback_launches_.workspace_bytes);
  }
  workspace_bytes_ = round_up_256(static_cast<std::size_t>(bytes));
  if (request_.problem.op == kernels::Op::backward) omit_gradients();
  if (hides_lse()) {
    const auto& problem = request_.problem;
    lse_offset_ = workspace_bytes_;
    workspace_bytes_ +=
        round_up_256(sizeof(float) * static_cast<std::size_t>(problem.batch) * problem.heads * problem.nq);
  }
  writes_mask_ = request_.reads_lengths && !request_.is_empty();
  if (writes_mask_) {
    mask_offset_ = workspace_bytes_;
    workspace_bytes_ +=
        round_up_256(static_cast<std::size_t>(request_.args.batch * request_.args.key_mask_stride));
  }
  unprepared_text_ = text("not prepared");
}

void Plan::omit_gradients() {
  const auto omit = [&](kernels::LaunchPlan& launches, const kernels::GradientKernels& kernels) {
    launches = without_omitted(launches, kernels, request_);
    return scratch_for(launches, kernels, request_, workspace_bytes_);
  };
  scratch_ = omit(launches_, selection_.family->gradient_kernels(selection_.configuration));
  std::size_t bytes = scratch_.bytes;
  if (kernel_->fallback()) {
    fallback_scratch_ = omit(fallback_launches_, kernel_->fallback()->gradient_kernels());
    bytes = std::max(bytes, fallback_scratch_.bytes);
  }
  workspace_bytes_ = bytes;
}

std::string Plan::text(const char* kernels) const {
  const auto& info = device_->info();
  return fmt::format(
      "problem: {}\ndevice: {}, {} ({})\nconfiguration: {}\nchosen: {}\nkernels: {}\nworkspace: {} bytes\n{}",
      kernels::to_text(request_.problem), info.selector(), info.name, info.target.arch,
      kernels::to_text(*selection_.family, request_.problem.op, selection_.configuration), selection_.reason,
      kernels, workspace_bytes_, notes_);
}

const Kernel::Loaded* Plan::loaded() const {
  return !writes_mask_ || device_->key_masks().ready() ? kernel_->loaded() : nullptr;
}

const char* Plan::describe() {
  const Kernel::Loaded* loaded = this->loaded();
  if (loaded == nullptr) return unprepared_text_.c_str();
  if (const char* known = prepared_.load(std::memory_order_acquire)) return known;
  const LockedSection section;
  std::call_once(described_, [&] {
    prepared_text_ = text(loaded->origin.c_str());
    prepared_.store(prepared_text_.c_str(), std::memory_order_release);
  });
  return prepared_text_.c_str();
}

void Plan::prepare() {
  const LockedSection section;
  const Kernel::Loaded& loaded = kernel_->load();
  if (writes_mask_) device_->key_masks().load();
  device_->launcher().reserve(loaded.is_fallback ? fallback_launches_ : launches_);
}

const unsigned char* Plan::written_mask(const fcsa_tensors& tensors, const kernels::BackwardArgs& args,
                                        void* stream) const {
  unsigned char* const mask = static_cast<unsigned char*>(args.workspace) + mask_offset_;
  device_->key_masks().write({.lengths = key_lengths_of(tensors),
                              .mask = mask,
                              .stride = args.key_mask_stride,
                              .batch = args.batch,
                              .nk = args.nk},
                             stream);
  return mask;
}

void Plan::run(kernels::Op op, const fcsa_tensors& tensors, void* stream) {
  require_op(op, request_.problem.op);
  kernels::BackwardArgs args = place(request_, tensors, workspace_bytes_);
  if (hides_lse())
    args.lse = reinterpret_cast<float*>(static_cast<unsigned char*>(args.workspace) + lse_offset_);
  const Kernel::Loaded* loaded = this->loaded();
  if (loaded == nullptr) {
    if (device_->launcher().capturing(stream))
      throw Failure(
          FCSA_NOT_PREPARED,
          "the plan is not prepared, and can't be while a CUDA graph is captured: call fcsa_prepare first");
    prepare();
    loaded = this->loaded();
  }
  (loaded->is_fallback ? fallback_scratch_ : scratch_).place(args);
  if (writes_mask_) args.key_mask = written_mask(tensors, args, stream);
  device_->launcher().launch(*loaded->module, loaded->is_fallback ? fallback_launches_ : launches_, args,
                             stream);
  count_call(record_slot_);
}

}  // namespace fcsa::library
