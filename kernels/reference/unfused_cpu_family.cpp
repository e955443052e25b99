// The unfused yardstick on CPUs: nothing tuned, one configuration.
#include "kernels/families.h"
#include "kernels/reference/unfused_config.h"

namespace fcsa::kernels {
namespace {

class UnfusedCpuFamily final : public Family {
 public:
  std::string name() const override { return "unfused_cpu"; }
  DeviceKind device_kind() const override { return DeviceKind::cpu; }
  bool tunable() const override { return false; }

  // Scores that don't fit the memory are not refused: the trial records out_of_memory, and reports show that point.
  std::string unsupported(const Problem& problem, const Target& target) const override {
    if (target.kind != DeviceKind::cpu) return "unfused_cpu runs on CPUs";
    if (problem.op != Op::forward) return "unfused_cpu has no backward pass";
    return {};
  }

  std::vector<Parameter> parameters(Op) const override { return {}; }
  std::vector<Constraint> constraints(Op) const override { return {}; }

  Configuration baseline(const Problem& problem, const Target&) const override {
    return {kernel_name(*this, problem.op), {}};
  }

  KernelTemplate kernel_template(Op) const override {
    return {.source_path = "kernels/reference/unfused_cpu.h",
            .config_type = "fcsa::kernels::unfused::Config",
            .kernels = {"fcsa::kernels::unfused::normalise", "fcsa::kernels::unfused::scores",
                        "fcsa::kernels::unfused::softmax", "fcsa::kernels::unfused::output"}};
  }

  LaunchPlan plan(const Traits& traits, const Configuration&, const Args& args) const override {
    return unfused::cpu_plan(traits, args);
  }

  Tile tile(const Configuration&) const override { return {unfused::kTaskRows, unfused::kTaskKeys}; }
};

}  // namespace

std::unique_ptr<Family> make_unfused_cpu_family() {
  return std::make_unique<UnfusedCpuFamily>();
}

}  // namespace fcsa::kernels
