// The unfused yardsticks, on CUDA devices and on CPUs: nothing tuned, one configuration each.
#include "kernels/families.h"
#include "kernels/reference/unfused_config.h"

namespace fcsa::kernels {
namespace {

class UnfusedFamily final : public Family {
 public:
  explicit UnfusedFamily(DeviceKind kind) : kind_(kind) {}

  std::string name() const override { return on_gpu() ? "unfused_cuda" : "unfused_cpu"; }
  DeviceKind device_kind() const override { return kind_; }
  bool tunable() const override { return false; }

  // Scores that don't fit the memory are not refused: the trial records out_of_memory, and reports show that
  // point.
  std::string unsupported(const Problem& problem, const Target& target) const override {
    if (std::string reason = Family::unsupported(problem, target); !reason.empty()) return reason;
    if (problem.op != Op::forward) return name() + " has no backward pass";
    return {};
  }

  std::vector<Parameter> parameters(Op) const override { return {}; }
  std::vector<Constraint> constraints(Op) const override { return {}; }

  Configuration baseline(const Problem& problem, const Target&) const override {
    return {kernel_name(*this, problem.op), {}};
  }

  KernelTemplate kernel_template(Op) const override {
    return {
        .source_path = on_gpu() ? "kernels/reference/unfused_cuda.cuh" : "kernels/reference/unfused_cpu.h",
        .config_type = "fcsa::kernels::unfused::Config",
        .kernels = {"fcsa::kernels::unfused::normalise", "fcsa::kernels::unfused::scores",
                    "fcsa::kernels::unfused::softmax", "fcsa::kernels::unfused::output"}};
  }

  LaunchPlan plan(const Traits& traits, const Configuration&, const BackwardArgs& args) const override {
    return on_gpu() ? unfused::cuda_plan(traits, args) : unfused::cpu_plan(traits, args);
  }

  Tile tile(const Configuration&) const override {
    if (on_gpu()) return {.rows = unfused::kTile, .keys = unfused::kTile};
    return {.rows = unfused::kTaskRows, .keys = unfused::kTaskKeys};
  }

 private:
  bool on_gpu() const { return kind_ == DeviceKind::cuda; }

  DeviceKind kind_;
};

}  // namespace

std::unique_ptr<Family> make_unfused_cuda_family() {
  return std::make_unique<UnfusedFamily>(DeviceKind::cuda);
}

std::unique_ptr<Family> make_unfused_cpu_family() {
  return std::make_unique<UnfusedFamily>(DeviceKind::cpu);
}

}  // namespace fcsa::kernels
