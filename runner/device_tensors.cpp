#include <algorithm>
#include <array>

#include "runner/inputs.h"

namespace fcsa::runner {
namespace {

constexpr std::size_t kGuardBytes = 4096;
// NaN in every dtype: what a kernel reads past the end of an input shows in its output.
constexpr unsigned char kInputGuard = 0xff;
constexpr unsigned char kOutputGuard = 0xa5;
constexpr unsigned char kPoison = 0xff;

}  // namespace

struct DeviceTensors::Impl {
  struct Region {
    const char* name = "";
    std::unique_ptr<Buffer> buffer;
    std::size_t bytes = 0;
    unsigned char guard = kOutputGuard;

    void* data() const { return buffer ? static_cast<char*>(buffer->data()) + kGuardBytes : nullptr; }
  };

  Device& device;
  kernels::Problem problem;
  Region q, k, v, key_mask, bias, head_scale, o, lse, workspace;

  Impl(Device& on, const HostInputs& inputs) : device(on), problem(inputs.problem) {
    q = input("q", inputs.q.data(), inputs.q.size());
    k = input("k", inputs.k.data(), inputs.k.size());
    v = input("v", inputs.v.data(), inputs.v.size());
    key_mask = input("key_mask", inputs.key_mask.data(), inputs.key_mask.size());
    bias = input("bias", inputs.bias.data(), inputs.bias.size());
    head_scale = input("head_scale", inputs.head_scale.data(), inputs.head_scale.size() * sizeof(float));
    o = region("o", inputs.q.size(), kOutputGuard);
    lse = region("lse", static_cast<std::size_t>(problem.batch) * problem.heads * problem.nq * sizeof(float),
                 kOutputGuard);
  }

  Region region(const char* name, std::size_t bytes, unsigned char guard) {
    if (bytes == 0) return {};
    Region made{name, device.allocate(bytes + 2 * kGuardBytes), bytes, guard};
    device.fill(*made.buffer, 0, guard, kGuardBytes);
    device.fill(*made.buffer, kGuardBytes + bytes, guard, kGuardBytes);
    return made;
  }

  Region input(const char* name, const void* data, std::size_t bytes) {
    Region made = region(name, bytes, kInputGuard);
    if (bytes != 0) device.upload(*made.buffer, kGuardBytes, data, bytes);
    return made;
  }

  std::array<const Region*, 9> regions() const {
    return {&o, &lse, &workspace, &q, &k, &v, &key_mask, &bias, &head_scale};
  }

  bool intact(const Region& region) const {
    std::array<unsigned char, kGuardBytes> found{};
    for (const std::size_t offset : {std::size_t{0}, kGuardBytes + region.bytes}) {
      device.download(found.data(), *region.buffer, offset, kGuardBytes);
      if (std::any_of(found.begin(), found.end(), [&](unsigned char byte) { return byte != region.guard; }))
        return false;
    }
    return true;
  }
};

DeviceTensors::DeviceTensors(Device& device, const HostInputs& inputs)
    : impl_(std::make_unique<Impl>(device, inputs)) {}
DeviceTensors::~DeviceTensors() = default;
DeviceTensors::DeviceTensors(DeviceTensors&&) noexcept = default;

kernels::BackwardArgs DeviceTensors::args(std::size_t workspace_bytes) {
  Impl& t = *impl_;
  if (workspace_bytes > t.workspace.bytes) {
    t.workspace = {};  // before the larger one is allocated: both might not fit
    t.workspace = t.region("workspace", workspace_bytes, kOutputGuard);
  }
  kernels::BackwardArgs args = kernels::shape_args(t.problem);
  args.q = t.q.data();
  args.k = t.k.data();
  args.v = t.v.data();
  args.o = t.o.data();
  args.lse = static_cast<float*>(t.lse.data());
  args.key_mask = static_cast<const unsigned char*>(t.key_mask.data());
  args.bias = t.bias.data();
  args.head_scale = static_cast<const float*>(t.head_scale.data());
  args.workspace = t.workspace.data();
  return args;
}

void DeviceTensors::poison_outputs() {
  for (const Impl::Region* region : {&impl_->o, &impl_->lse, &impl_->workspace})
    if (region->buffer) impl_->device.fill(*region->buffer, kGuardBytes, kPoison, region->bytes);
}

std::vector<unsigned char> DeviceTensors::download_o() const {
  std::vector<unsigned char> o(impl_->o.bytes);
  impl_->device.download(o.data(), *impl_->o.buffer, kGuardBytes, o.size());
  return o;
}

std::vector<float> DeviceTensors::download_lse() const {
  std::vector<float> lse(impl_->lse.bytes / sizeof(float));
  impl_->device.download(lse.data(), *impl_->lse.buffer, kGuardBytes, impl_->lse.bytes);
  return lse;
}

std::string DeviceTensors::damaged_guard() const {
  for (const Impl::Region* region : impl_->regions())
    if (region->buffer && !impl_->intact(*region)) return region->name;
  return {};
}

std::size_t DeviceTensors::bytes() const {
  std::size_t total = 0;
  for (const Impl::Region* region : impl_->regions())
    if (region->buffer && region != &impl_->workspace) total += region->bytes + 2 * kGuardBytes;
  return total;
}

void DeviceTensors::release_workspace() {
  impl_->workspace = {};
}

std::size_t DeviceTensors::workspace_bytes() const {
  return impl_->workspace.bytes;
}

}  // namespace fcsa::runner
