#include "runner/worker/worker_process.h"

#include <fmt/format.h>
#include <sys/resource.h>

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

void serve(const std::string& selector, Channel& channel) {
  std::unique_ptr<Device> device;
  try {
    device = open_device(selector);
  } catch (const std::exception& error) {
    channel.send({{"error", error.what()}});
    return;
  }
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
