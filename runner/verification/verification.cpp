#include "runner/verification/verification.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <list>

#include "runner/verification/judge.h"
#include "runner/verification/output_shape.h"

namespace fcsa::runner {
namespace {

// A case with more input than this is large: only one of those is kept.
constexpr std::size_t kLargeBytes = std::size_t{8} << 20;
constexpr std::size_t kSmallCases = 256;
constexpr int kLaunchesOfTheSameBits = 3;

std::string describe(const Check& check) {
  const std::string placed =
      check.placement == Placement::dense ? "" : fmt::format(", {} tensors", to_text(check.placement));
  return fmt::format("{} ({} values{}, seed {})", kernels::to_text(check.problem), to_text(check.values),
                     placed, check.seed);
}

// What one problem costs to check once: inputs on the device, expected rows.
struct Case {
  std::string key;
  DeviceTensors tensors;
  std::unique_ptr<Judge> judge;
};

class PoisonedScratch {
 public:
  explicit PoisonedScratch(Device& device) : device_(device) { device_.poison_scratch(true); }
  ~PoisonedScratch() { device_.poison_scratch(false); }
  PoisonedScratch(const PoisonedScratch&) = delete;
  PoisonedScratch& operator=(const PoisonedScratch&) = delete;

 private:
  Device& device_;
};

using Bytes = std::vector<unsigned char>;

std::vector<Bytes> download_all(const DeviceTensors& tensors) {
  std::vector<Bytes> all;
  for (const Output output : tensors.outputs()) all.push_back(tensors.download(output));
  return all;
}

// Where two launches differ; empty where nowhere.
std::string difference(const kernels::Problem& problem, const std::vector<Output>& outputs,
                       const std::vector<Bytes>& a, const std::vector<Bytes>& b) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (a[i] == b[i]) continue;
    const auto [first, other] = std::mismatch(a[i].begin(), a[i].end(), b[i].begin());
    const OutputShape shape = output_shape(problem, outputs[i]);
    const auto byte = static_cast<std::size_t>(first - a[i].begin());
    const std::size_t element = byte / static_cast<std::size_t>(kernels::element_bytes(shape.dtype));
    const auto value = [&](const Bytes& data) {
      return kernels::load_element(shape.dtype, data.data(), static_cast<long long>(element));
    };
    return fmt::format("{} at {} is {:.9g} and {:.9g}", to_text(outputs[i]), shape.describe(element),
                       value(a[i]), value(b[i]));
  }
  return {};
}

}  // namespace

struct Verifier::Impl {
  Device& device;
  std::list<Case> cases;  // the latest used in front

  explicit Impl(Device& on) : device(on) {}

  Case& find(const Check& check) {
    const std::string key = describe(check);
    const auto known = std::find_if(cases.begin(), cases.end(), [&](const Case& c) { return c.key == key; });
    if (known != cases.end()) {
      cases.splice(cases.begin(), cases, known);
      return cases.front();
    }
    HostInputs inputs = make_inputs(check.problem, check.values, check.seed);
    make_room(inputs);
    std::unique_ptr<Judge> judge = make_judge(inputs, check);
    hide_with_nan(inputs);  // whatever the kernel reads of what nobody sees, it must not let in
    cases.push_front(
        {.key = key, .tensors = DeviceTensors(device, inputs, check.placement), .judge = std::move(judge)});
    return cases.front();
  }

  void make_room(const HostInputs& inputs) {
    if (inputs.q.size() + inputs.k.size() + inputs.v.size() > kLargeBytes)
      std::erase_if(cases, [](const Case& c) { return c.tensors.bytes() > kLargeBytes; });
    while (cases.size() > kSmallCases) cases.pop_back();
  }

  void launch(const Module& module, const Check& check, DeviceTensors& tensors) {
    const kernels::BackwardArgs args = tensors.args(static_cast<std::size_t>(check.plan.workspace_bytes));
    tensors.poison_outputs();
    const PoisonedScratch scratch(device);
    device.launch(module, check.plan, args);
    device.synchronize();
  }

  // What the launches after the first, which was right, do differently.
  std::string repeat(const Module& module, const Check& check, DeviceTensors& tensors) {
    const int launches = std::max(check.launches, check.problem.deterministic ? kLaunchesOfTheSameBits : 1);
    if (launches < 2) return {};
    const std::vector<Bytes> first = download_all(tensors);
    for (int i = 2; i <= launches; ++i) {
      launch(module, check, tensors);
      const std::string found = difference(check.problem, tensors.outputs(), first, download_all(tensors));
      if (!found.empty())
        return fmt::format("not the same bits in launches 1 and {} of {}: {}", i, launches, found);
    }
    return {};
  }
};

Verifier::Verifier(Device& device) : impl_(std::make_unique<Impl>(device)) {}
Verifier::~Verifier() = default;

CheckResult Verifier::run(const Module& module, const Check& check) {
  Case& c = impl_->find(check);
  impl_->launch(module, check, c.tensors);
  CheckResult result = c.judge->judge(c.tensors);
  if (result.ok) result.message = impl_->repeat(module, check, c.tensors);
  result.ok = result.message.empty();
  const std::string damaged = c.tensors.damaged_guard();
  if (!damaged.empty()) {
    result = {.error = std::numeric_limits<double>::infinity(),
              .tolerance = result.tolerance,
              .message = fmt::format("wrote outside of {}", damaged)};
    impl_->cases.clear();  // other tensors may have been written to as well
  }
  if (!result.ok) result.message += fmt::format(", in {}", describe(check));
  return result;
}

DeviceTensors& Verifier::tensors(const Check& check) {
  return impl_->find(check).tensors;
}

}  // namespace fcsa::runner
