#include "library/library.h"

#include <fmt/format.h>

#include <cstdio>
#include <stdexcept>
#include <utility>

#include "library/failure.h"
#include "library/fork.h"

namespace fcsa::library {
namespace {

Notes::Log log_of(const fcsa_options& options) {
  if (options.log == nullptr)
    return [](const std::string& line) { std::fprintf(stderr, "fcsa: %s\n", line.c_str()); };
  return [log = options.log, data = options.log_data](const std::string& line) { log(data, line.c_str()); };
}

std::string searched(const Databases& databases) {
  std::string text;
  for (const auto& file : databases.files()) text += (text.empty() ? "" : " and ") + file.string();
  return text.empty() ? "no tuning database was found" : "there is nothing about it in " + text;
}

}  // namespace

Library::Library(const fcsa_options& options)
    : notes_(std::make_shared<Notes>(log_of(options))),
      databases_(options.database, *notes_),
      binaries_(std::make_shared<Binaries>(options.cache_directory, notes_)) {}

Plan& Library::plan(const fcsa_problem& stated) {
  const fcsa_problem problem = whole(stated);
  const std::uint64_t context = context_of(problem);
  const auto key = PlanCache::key_of(problem, context);
  if (Plan* known = plans_.find(key)) return *known;
  const LockedSection section;
  const Request request = request_of(problem);
  return plans_.add(key, new Plan(device(problem.device, context), request, notes_));
}

void Library::set_num_threads(int threads) {
  if (threads < 0 || threads > 1024)
    refuse(fmt::format("threads is {}: set it from 1 to 1024, or to 0 for as many as there are usable cores",
                       threads));
  const std::lock_guard lock(devices_mutex_);
  threads_ = threads;
  if (const auto cpu = devices_.find({FCSA_CPU, 0}); cpu != devices_.end() && cpu->second)
    cpu->second->launcher().set_threads(threads);
}

std::uint64_t Library::context_of(const fcsa_problem& problem) {
  if (problem.device != FCSA_CUDA) return 0;
  const auto context = cuda().current();
  if (!context) {
    throw Failure(
        FCSA_NO_DEVICE,
        "no CUDA context is current in the calling thread: call cudaSetDevice (before CUDA 12 cudaFree(0)) "
        "or cuCtxSetCurrent first, or set device to FCSA_CPU");
  }
  return *context;
}

const runner::CudaContexts& Library::cuda() {
  if (const auto* known = cuda_.load(std::memory_order_acquire)) return *known;
  const LockedSection section;
  const std::lock_guard lock(devices_mutex_);
  try {
    if (!cuda_owned_) cuda_owned_ = std::make_unique<const runner::CudaContexts>();
  } catch (const std::runtime_error& error) {
    throw Failure(FCSA_NO_DEVICE, error.what());
  }
  cuda_.store(cuda_owned_.get(), std::memory_order_release);
  return *cuda_owned_;
}

std::shared_ptr<DeviceKernels> Library::device(std::int32_t kind, std::uint64_t context) {
  const std::lock_guard lock(devices_mutex_);
  auto& device = devices_[{kind, context}];
  if (!device) device = open_device(kind);
  return device;
}

// Precondition: locked, and `cuda_owned_` is there for a CUDA device.
std::shared_ptr<DeviceKernels> Library::open_device(std::int32_t kind) {
  auto launcher = kind == FCSA_CUDA ? cuda_owned_->attach() : runner::make_cpu_launcher();
  launcher->set_threads(threads_);
  auto tables = databases_.tables_for(launcher->info(), *notes_);
  if (tables.empty() && databases_.should_have_data()) {
    notes_->say(
        fmt::format("no tuned data for {}: {}; built-in defaults are used, until `fcsa tune` has run here",
                    launcher->info().name, searched(databases_)));
  }
  return std::make_shared<DeviceKernels>(std::move(launcher), std::move(tables), binaries_);
}

}  // namespace fcsa::library
