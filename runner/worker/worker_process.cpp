#include "runner/worker/worker_process.h"

#include <fmt/format.h>
#include <malloc.h>
#include <sys/resource.h>

#include <climits>
#include <cstdio>
#include <exception>
#include <memory>

#include "runner/process/channel.h"
#include "runner/process/child_process.h"
#include "runner/worker/protocol.h"
#include "runner/worker/worker.h"

namespace fcsa::runner {
namespace {

using nlohmann::json;

// Answers one message. False when the process must end: the device is lost.
bool answer(const json& message, Device& device, Worker& worker, Channel& channel) {
  if (message.contains("describe")) {
    channel.send({{"device", device.info()}});
    return true;
  }
  try {
    const auto evaluations = worker.run(member<Job>(message, "job"), [&](const JobProgress& progress) {
      channel.send({{"progress", progress}});
    });
    channel.send({{"evaluations", evaluations}});
    return true;
  } catch (const DeviceLost& lost) {
    channel.send({{"lost", lost.failure()}});
    return false;
  }
}

// Inputs and outputs of hundreds of megabytes come and go with every candidate, and fresh pages cost more
// than what is done with them: 0.23 s for 200 MB, 0.01 s where they are kept. Not where they would count as
// memory that a kernel on a CPU takes.
void keep_freed_memory(const Device& device) {
  if (device.info().target.kind == kernels::DeviceKind::cpu) return;
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, INT_MAX);
}

void serve(const std::string& selector, Channel& channel) {
  std::unique_ptr<Device> device;
  try {
    device = open_device(selector);
  } catch (const std::exception& error) {
    channel.send({{"error", error.what()}});
    return;
  }
  keep_freed_memory(*device);
  Worker worker(*device);
  while (const auto message = channel.receive()) {
    if (!answer(*message, *device, worker, channel)) return;
  }
}

}  // namespace

int worker_main(const std::string& device) {
  // A faulting kernel is an everyday event here, not worth a core file.
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  try {
    Channel channel(kChannelFd);
    serve(device, channel);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "worker process: {}\n", error.what());
    return 1;
  }
}

}  // namespace fcsa::runner
