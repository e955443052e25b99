#include "runner/verification/verification.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <list>

#include "runner/verification/judge.h"
#include "runner/verification/output_shape.h"

namespace fcsa::runner {
namespace {

// A problem with more bytes than this is large: what all of those hold is bounded. Of others so many are
// kept.
constexpr double kLargeBytes = 8 << 20;
constexpr std::size_t kSmallCases = 256;
constexpr double kGiB = 1 << 30;
constexpr int kLaunchesOfTheSameBits = 3;

std::string describe(const Check& check) {
  const std::string placed =
      check.placement == Placement::dense ? "" : fmt::format(", {} tensors", to_text(check.placement));
  const std::string lengths =
      check.key_lengths.empty() ? "" : fmt::format(", {} keys visible", fmt::join(check.key_lengths, " "));
  return fmt::format("{} ({} values{}{}, seed {})", kernels::to_text(check.problem), to_text(check.values),
                     placed, lengths, check.seed);
}

// What one problem costs to check once: inputs on the device, expected rows.
struct Case {
  std::string key;
  DeviceTensors tensors;
  std::unique_ptr<Judge> judge;
};

// What cases hold, or may hold, on the device and in the judge.
struct Memory {
  double device_bytes = 0, host_bytes = 0;
};

Memory held_by(const std::list<Case>& cases) {
  Memory held;
  for (const Case& c : cases) {
    held.device_bytes += static_cast<double>(c.tensors.bytes());
    held.host_bytes += static_cast<double>(c.judge->host_bytes());
  }
  return held;
}

// Two dozen problems of 16,384 tokens on a large GPU. On a CPU both are the same memory.
Memory budget_on(const kernels::Target& target) {
  const double memory =
      static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  const double host = std::min(memory / 16, kGiB);
  const auto device = static_cast<double>(target.memory_bytes);
  if (target.kind == kernels::DeviceKind::cpu) return {std::min(device / 16, kGiB), host};
  return {std::min(device / 4, 16 * kGiB), host};
}

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
  Memory budget;
  std::list<Case> small, large;  // the latest used in front, which alone has a workspace where it is large

  explicit Impl(Device& on) : device(on), budget(budget_on(on.info().target)) {}

  Case& find(const Check& check) {
    const std::string key = describe(check);
    const double bytes = kernels::bytes(check.problem);
    std::list<Case>& cases = bytes > kLargeBytes ? large : small;
    const auto known = std::find_if(cases.begin(), cases.end(), [&](const Case& c) { return c.key == key; });
    if (known == cases.begin() && known != cases.end()) return *known;
    if (bytes > kLargeBytes && !large.empty()) large.front().tensors.release_workspace();
    if (known != cases.end()) {
      cases.splice(cases.begin(), cases, known);
    } else {
      make_room(bytes);
      cases.push_front(make_case(key, check));
    }
    return cases.front();
  }

  Case make_case(const std::string& key, const Check& check) {
    HostInputs inputs = make_inputs(check.problem, check.values, check.seed, check.key_lengths);
    std::unique_ptr<Judge> judge = make_judge(inputs, check);
    hide_with_nan(inputs);  // whatever the kernel reads of what nobody sees, it must not let in
    return {.key = key, .tensors = DeviceTensors(device, inputs, check.placement), .judge = std::move(judge)};
  }

  // For a case with tensors of so many bytes.
  void make_room(double bytes) {
    if (bytes <= kLargeBytes) {
      while (small.size() >= kSmallCases) small.pop_back();
      return;
    }
    const auto full = [&] {
      const Memory held = held_by(large);
      return held.device_bytes + bytes > budget.device_bytes || held.host_bytes > budget.host_bytes;
    };
    while (!large.empty() && full()) large.pop_back();
  }

  bool forget_others(const std::string& key, std::size_t bytes) {
    const auto is_other = [&](const Case& c) { return c.key != key; };
    double held = 0;
    for (const auto* cases : {&small, &large})
      for (const Case& c : *cases)
        if (is_other(c)) held += static_cast<double>(c.tensors.bytes());
    if (held == 0 || held < static_cast<double>(bytes)) return false;
    small.remove_if(is_other);
    large.remove_if(is_other);
    return true;
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
    impl_->small.clear();  // other tensors may have been written to as well
    impl_->large.clear();
  }
  if (!result.ok) result.message += fmt::format(", in {}", describe(check));
  return result;
}

DeviceTensors& Verifier::tensors(const Check& check) {
  return impl_->find(check).tensors;
}

bool Verifier::forget_others(const Check& check, std::size_t bytes) {
  return impl_->forget_others(describe(check), bytes);
}

}  // namespace fcsa::runner
