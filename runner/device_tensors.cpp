#include <algorithm>
#include <array>
#include <stdexcept>

#include "runner/inputs.h"

namespace fcsa::runner {
namespace {

constexpr std::size_t kGuardBytes = 4096;
// NaN in every dtype: what a kernel reads past the end of an input shows in its output.
constexpr unsigned char kInputGuard = 0xff;
constexpr unsigned char kOutputGuard = 0xa5;
constexpr unsigned char kPoison = 0xff;

constexpr std::size_t kOutputs = static_cast<std::size_t>(Output::dscale) + 1;

std::size_t index(Output output) {
  return static_cast<std::size_t>(output);
}

}  // namespace

struct DeviceTensors::Impl {
  struct Region {
    std::string_view name;
    std::unique_ptr<Buffer> buffer;
    std::size_t bytes = 0;
    unsigned char guard = kOutputGuard;

    void* data() const { return buffer ? static_cast<char*>(buffer->data()) + kGuardBytes : nullptr; }
  };

  Device& device;
  kernels::Problem problem;
  Region q, k, v, key_mask, bias, head_scale, dout, o, lse, workspace;
  std::array<Region, kOutputs> outputs;  // o and lse only where they are not inputs

  Impl(Device& on, const HostInputs& inputs) : device(on), problem(inputs.problem) {
    q = input("q", inputs.q);
    k = input("k", inputs.k);
    v = input("v", inputs.v);
    key_mask = input("key_mask", inputs.key_mask);
    bias = input("bias", inputs.bias);
    head_scale = input("head_scale", inputs.head_scale);
    dout = input("dout", inputs.dout);
    o = input("o", inputs.o);
    lse = input("lse", inputs.lse);
    if (problem.op == kernels::Op::forward) {
      output(Output::o, inputs.q.size());
      output(Output::lse,
             static_cast<std::size_t>(problem.batch) * problem.heads * problem.nq * sizeof(float));
      return;
    }
    output(Output::dq, inputs.q.size());
    output(Output::dk, inputs.k.size());
    output(Output::dv, inputs.v.size());
    if (problem.bias_gradient) output(Output::dbias, inputs.bias.size());
    if (problem.scale_gradient)
      output(Output::dscale, static_cast<std::size_t>(problem.heads) * sizeof(float));
  }

  Region region(std::string_view name, std::size_t bytes, unsigned char guard) {
    if (bytes == 0) return {};
    Region made{name, device.allocate(bytes + 2 * kGuardBytes), bytes, guard};
    device.fill(*made.buffer, 0, guard, kGuardBytes);
    device.fill(*made.buffer, kGuardBytes + bytes, guard, kGuardBytes);
    return made;
  }

  template <typename T>
  Region input(std::string_view name, const std::vector<T>& data) {
    Region made = region(name, data.size() * sizeof(T), kInputGuard);
    if (!data.empty()) device.upload(*made.buffer, kGuardBytes, data.data(), made.bytes);
    return made;
  }

  void output(Output which, std::size_t bytes) {
    outputs[index(which)] = region(to_text(which), bytes, kOutputGuard);
  }

  void* output_data(Output which) const { return outputs[index(which)].data(); }

  // All that exist, outputs first.
  std::vector<const Region*> regions() const {
    std::vector<const Region*> all;
    for (const Region& region : outputs) all.push_back(&region);
    for (const Region* region : {&workspace, &q, &k, &v, &key_mask, &bias, &head_scale, &dout, &o, &lse})
      all.push_back(region);
    std::erase_if(all, [](const Region* region) { return !region->buffer; });
    return all;
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

std::string_view to_text(Output output) {
  constexpr std::array<std::string_view, kOutputs> kNames = {"o", "lse", "dq", "dk", "dv", "dbias", "dscale"};
  return kNames.at(index(output));
}

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
  const bool forward = t.problem.op == kernels::Op::forward;
  kernels::BackwardArgs args = kernels::shape_args(t.problem);
  args.q = t.q.data();
  args.k = t.k.data();
  args.v = t.v.data();
  args.o = forward ? t.output_data(Output::o) : t.o.data();
  args.lse = static_cast<float*>(forward ? t.output_data(Output::lse) : t.lse.data());
  args.key_mask = static_cast<const unsigned char*>(t.key_mask.data());
  args.bias = t.bias.data();
  args.head_scale = static_cast<const float*>(t.head_scale.data());
  args.workspace = t.workspace.data();
  args.dout = t.dout.data();
  args.dq = t.output_data(Output::dq);
  args.dk = t.output_data(Output::dk);
  args.dv = t.output_data(Output::dv);
  args.dbias = t.output_data(Output::dbias);
  args.dscale = static_cast<float*>(t.output_data(Output::dscale));
  return args;
}

std::vector<Output> DeviceTensors::outputs() const {
  std::vector<Output> list;
  for (std::size_t i = 0; i < kOutputs; ++i)
    if (impl_->outputs[i].buffer) list.push_back(static_cast<Output>(i));
  return list;
}

void DeviceTensors::poison_outputs() {
  const auto poison = [&](const Impl::Region& region) {
    if (region.buffer) impl_->device.fill(*region.buffer, kGuardBytes, kPoison, region.bytes);
  };
  std::for_each(impl_->outputs.begin(), impl_->outputs.end(), poison);
  poison(impl_->workspace);
}

std::vector<unsigned char> DeviceTensors::download(Output output) const {
  const Impl::Region& region = impl_->outputs[index(output)];
  if (!region.buffer)
    throw std::invalid_argument("the problem has no output " + std::string(to_text(output)));
  std::vector<unsigned char> data(region.bytes);
  impl_->device.download(data.data(), *region.buffer, kGuardBytes, data.size());
  return data;
}

std::string DeviceTensors::damaged_guard() const {
  for (const Impl::Region* region : impl_->regions())
    if (!impl_->intact(*region)) return std::string(region->name);
  return {};
}

std::size_t DeviceTensors::bytes() const {
  std::size_t total = 0;
  for (const Impl::Region* region : impl_->regions())
    if (region != &impl_->workspace) total += region->bytes + 2 * kGuardBytes;
  return total;
}

void DeviceTensors::release_workspace() {
  impl_->workspace = {};
}

std::size_t DeviceTensors::workspace_bytes() const {
  return impl_->workspace.bytes;
}

}  // namespace fcsa::runner
