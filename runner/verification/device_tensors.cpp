#include <xxhash.h>

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>

#include "runner/verification/inputs.h"
#include "runner/verification/placement.h"

namespace fcsa::runner {
namespace {

constexpr std::size_t kGuardBytes = 4096;
// Up to this, all of a buffer is looked at, not only what is in front of its tensor and behind it.
constexpr std::size_t kSmallBytes = std::size_t{1} << 20;
// NaN in every dtype: what a kernel reads past the end of an input shows in its output.
constexpr unsigned char kInputGuard = 0xff;
constexpr unsigned char kOutputGuard = 0xa5;
constexpr unsigned char kPoison = 0xff;
constexpr std::size_t kWorkspaceAlignment = 256;

constexpr std::size_t kOutputs = static_cast<std::size_t>(Output::dscale) + 1;

std::size_t index(Output output) {
  return static_cast<std::size_t>(output);
}

std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// The tensors of a problem as they lie in memory.
class Shapes {
 public:
  Shapes(const kernels::Problem& problem, Placement placement)
      : problem_(problem), dense_(kernels::shape_args(problem)), placed_(placed_args(problem, placement)) {}

  template <typename Member>
  PlacedRows queries(Member strides) const {
    return rows(problem_.heads, problem_.nq, strides);
  }
  template <typename Member>
  PlacedRows keys(Member strides) const {
    return rows(problem_.kv_heads, problem_.nk, strides);
  }
  template <typename Member>
  PlacedRows bias(Member strides) const {
    if (problem_.bias == kernels::Bias::none) return nothing();
    const int bytes = problem_.bias == kernels::Bias::f32 ? 4 : kernels::element_bytes(problem_.dtype);
    const auto element = static_cast<std::size_t>(bytes);
    return {element,     element,     dense_.bias_batch, dense_.bias_heads,
            problem_.nq, problem_.nk, dense_.*strides,   placed_.*strides};
  }
  PlacedRows key_mask() const {
    if (!problem_.key_mask) return nothing();
    return {.batch = problem_.batch,
            .width = problem_.nk,
            .dense = {problem_.nk, 0, 0},
            .placed = {placed_.key_mask_stride, 0, 0}};
  }
  PlacedRows lse() const { return floats(1LL * problem_.batch * problem_.heads * problem_.nq); }
  PlacedRows heads() const { return floats(problem_.heads); }
  static PlacedRows workspace(std::size_t bytes) {
    return {
        .alignment = kWorkspaceAlignment, .width = static_cast<long long>(bytes), .dense = {}, .placed = {}};
  }
  static PlacedRows nothing() { return {.width = 0, .dense = {}, .placed = {}}; }

  const kernels::BackwardArgs& placed() const { return placed_; }

 private:
  static PlacedRows floats(long long count) {
    return {.element_bytes = sizeof(float),
            .alignment = sizeof(float),
            .width = count,
            .dense = {},
            .placed = {}};
  }

  template <typename Member>
  PlacedRows rows(int heads, int rows, Member strides) const {
    return {static_cast<std::size_t>(kernels::element_bytes(problem_.dtype)),
            16,
            problem_.batch,
            heads,
            rows,
            problem_.head_dim,
            dense_.*strides,
            placed_.*strides};
  }

  kernels::Problem problem_;
  kernels::BackwardArgs dense_, placed_;
};

}  // namespace

struct DeviceTensors::Impl {
  // A tensor somewhere in a buffer of its own, all other bytes of which are guards.
  struct Region {
    std::string_view name;
    std::unique_ptr<Buffer> buffer;
    PlacedRows rows;
    std::size_t offset = 0;
    unsigned char guard = kOutputGuard;
    std::optional<std::uint64_t> digest = {};  // inputs that are small: of the whole buffer

    std::size_t bytes() const { return buffer ? rows.placed_bytes() : 0; }
    std::size_t end() const { return offset + bytes(); }
    bool small() const { return buffer->bytes() <= kSmallBytes || rows.has_gaps(); }
    void* data() const { return buffer ? static_cast<char*>(buffer->data()) + offset : nullptr; }
  };

  Device& device;
  kernels::Problem problem;
  Placement placement;
  float eps;
  Shapes shapes;
  Region q, k, v, key_mask, bias, head_scale, dout, o, lse, workspace;
  std::array<Region, kOutputs> outputs;  // o and lse only where they are not inputs

  Impl(Device& on, const HostInputs& inputs, Placement as)
      : device(on), problem(inputs.problem), placement(as), eps(inputs.eps), shapes(problem, as) {
    using kernels::BackwardArgs;
    q = input("q", shapes.queries(&BackwardArgs::q_strides), inputs.q);
    k = input("k", shapes.keys(&BackwardArgs::k_strides), inputs.k);
    v = input("v", shapes.keys(&BackwardArgs::v_strides), inputs.v);
    key_mask = input("key_mask", shapes.key_mask(), inputs.key_mask);
    bias = input("bias", shapes.bias(&BackwardArgs::bias_strides), inputs.bias);
    if (problem.head_scale) head_scale = input("head_scale", shapes.heads(), inputs.head_scale);
    if (problem.op == kernels::Op::forward) {
      output(Output::o, shapes.queries(&BackwardArgs::o_strides));
      output(Output::lse, shapes.lse());
      return;
    }
    dout = input("dout", shapes.queries(&BackwardArgs::dout_strides), inputs.dout);
    o = input("o", shapes.queries(&BackwardArgs::o_strides), inputs.o);
    lse = input("lse", shapes.lse(), inputs.lse);
    output(Output::dq, shapes.queries(&BackwardArgs::dq_strides));
    output(Output::dk, shapes.keys(&BackwardArgs::dk_strides));
    output(Output::dv, shapes.keys(&BackwardArgs::dv_strides));
    if (problem.bias_gradient) output(Output::dbias, shapes.bias(&BackwardArgs::dbias_strides));
    if (problem.scale_gradient) output(Output::dscale, shapes.heads());
  }

  // Dense tensors are aligned as allocations are and have guards on both sides. Others are aligned to what
  // callers promise and no more; where a page without access can follow a buffer they end at it, or just in
  // front of it.
  Region region(std::string_view name, const PlacedRows& rows, unsigned char guard) {
    Region made{name, nullptr, rows, kGuardBytes, guard};
    const std::size_t alignment = rows.alignment;
    const std::size_t bytes = rows.placed_bytes(), fence = device.fence_bytes();
    if (bytes == 0) return made;
    std::size_t total = round_up(kGuardBytes + bytes + kGuardBytes, std::max<std::size_t>(fence, 1));
    if (placement != Placement::dense) {
      made.offset += alignment;
      total += alignment;
      if (fence > 0) {
        total = round_up(kGuardBytes + bytes + 2 * alignment, fence);
        made.offset = (total - bytes) / alignment * alignment;
        if (made.offset % (2 * alignment) == 0) made.offset -= alignment;
      }
    }
    made.buffer = device.allocate(total);
    device.fill(*made.buffer, 0, guard, made.offset);
    device.fill(*made.buffer, made.end(), guard, total - made.end());
    return made;
  }

  template <typename T>
  Region input(std::string_view name, const PlacedRows& rows, const std::vector<T>& data) {
    Region made = region(name, rows, kInputGuard);
    if (data.empty()) return made;
    const auto* dense = reinterpret_cast<const unsigned char*>(data.data());
    if (!rows.has_gaps()) {
      device.upload(*made.buffer, made.offset, dense, made.bytes());
    } else {
      std::vector<unsigned char> placed(made.bytes(), kInputGuard);
      rows.place(dense, placed.data());
      device.upload(*made.buffer, made.offset, placed.data(), placed.size());
    }
    if (made.small()) made.digest = digest(whole(made));
    return made;
  }

  void output(Output which, const PlacedRows& rows) {
    outputs[index(which)] = region(to_text(which), rows, kOutputGuard);
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

  std::vector<unsigned char> part(const Region& region, std::size_t first, std::size_t last) const {
    std::vector<unsigned char> bytes(last - first);
    device.download(bytes.data(), *region.buffer, first, bytes.size());
    return bytes;
  }
  std::vector<unsigned char> whole(const Region& region) const {
    return part(region, 0, region.buffer->bytes());
  }

  static std::uint64_t digest(const std::vector<unsigned char>& bytes) {
    return XXH3_64bits(bytes.data(), bytes.size());
  }

  static bool all_are(const std::vector<unsigned char>& bytes, unsigned char value) {
    return std::all_of(bytes.begin(), bytes.end(), [value](unsigned char byte) { return byte == value; });
  }

  // Whether nothing was written to but the rows of outputs.
  bool intact(const Region& region) const {
    if (!region.small())
      return all_are(part(region, 0, region.offset), region.guard) &&
             all_are(part(region, region.end(), region.buffer->bytes()), region.guard);
    std::vector<unsigned char> bytes = whole(region);
    if (region.digest) return digest(bytes) == *region.digest;
    region.rows.fill(bytes.data() + region.offset, region.guard);
    return all_are(bytes, region.guard);
  }
};

std::string_view to_text(Output output) {
  constexpr std::array<std::string_view, kOutputs> kNames = {"o", "lse", "dq", "dk", "dv", "dbias", "dscale"};
  return kNames.at(index(output));
}

DeviceTensors::DeviceTensors(Device& device, const HostInputs& inputs, Placement placement)
    : impl_(std::make_unique<Impl>(device, inputs, placement)) {}
DeviceTensors::~DeviceTensors() = default;
DeviceTensors::DeviceTensors(DeviceTensors&&) noexcept = default;

kernels::BackwardArgs DeviceTensors::args(std::size_t workspace_bytes) {
  Impl& t = *impl_;
  if (workspace_bytes > t.workspace.bytes()) {
    t.workspace = {};  // before the larger one is allocated: both might not fit
    t.workspace = t.region("workspace", t.shapes.workspace(workspace_bytes), kInputGuard);
  }
  const bool forward = t.problem.op == kernels::Op::forward;
  kernels::BackwardArgs args = t.shapes.placed();
  args.eps = t.eps;
  args.q = t.q.data();
  args.k = t.k.data();
  args.v = t.v.data();
  args.o = forward ? t.output_data(Output::o) : t.o.data();
  args.lse = static_cast<float*>(forward ? t.output_data(Output::lse) : t.lse.data());
  args.key_mask = static_cast<const unsigned char*>(t.key_mask.data());
  args.bias = t.bias.data();
  args.head_scale = static_cast<const float*>(t.head_scale.data());
  // The end of the workspace, whoever needed more before: what is behind it shows.
  if (workspace_bytes > 0)
    args.workspace = static_cast<char*>(t.workspace.data()) +
                     (t.workspace.bytes() - workspace_bytes) / kWorkspaceAlignment * kWorkspaceAlignment;
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
    if (!region.buffer) return;
    if (!region.rows.has_gaps())
      return impl_->device.fill(*region.buffer, region.offset, kPoison, region.bytes());
    std::vector<unsigned char> poisoned(region.bytes(), region.guard);
    region.rows.fill(poisoned.data(), kPoison);
    impl_->device.upload(*region.buffer, region.offset, poisoned.data(), poisoned.size());
  };
  std::for_each(impl_->outputs.begin(), impl_->outputs.end(), poison);
  poison(impl_->workspace);
}

std::vector<unsigned char> DeviceTensors::download(Output output) const {
  const Impl::Region& region = impl_->outputs[index(output)];
  if (!region.buffer)
    throw std::invalid_argument("the problem has no output " + std::string(to_text(output)));
  std::vector<unsigned char> placed = impl_->part(region, region.offset, region.end());
  if (!region.rows.has_gaps()) return placed;
  std::vector<unsigned char> dense(region.rows.dense_bytes());
  region.rows.collect(placed.data(), dense.data());
  return dense;
}

std::string DeviceTensors::damaged_guard() const {
  for (const Impl::Region* region : impl_->regions())
    if (!impl_->intact(*region)) return std::string(region->name);
  return {};
}

std::size_t DeviceTensors::bytes() const {
  std::size_t total = 0;
  for (const Impl::Region* region : impl_->regions())
    if (region != &impl_->workspace) total += region->buffer->bytes();
  return total;
}

void DeviceTensors::release_workspace() {
  impl_->workspace = {};
}

std::size_t DeviceTensors::workspace_bytes() const {
  return impl_->workspace.bytes();
}

}  // namespace fcsa::runner
