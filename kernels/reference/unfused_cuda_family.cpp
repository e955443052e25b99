// The unfused yardstick on CUDA devices: nothing tuned, one configuration.
#include "kernels/families.h"
#include "kernels/reference/unfused_config.h"

namespace fcsa::kernels {
namespace {

class UnfusedCudaFamily final : public Family {
 public:
  std::string name() const override { return "unfused_cuda"; }
  DeviceKind device_kind() const override { return DeviceKind::cuda; }
  bool tunable() const override { return false; }

  // Scores that don't fit the memory are not refused: the trial records out_of_memory, and reports show that point.
  std::string unsupported(const Problem& problem, const Target& target) const override {
    if (target.kind != DeviceKind::cuda) return "unfused_cuda runs on CUDA devices";
    if (problem.op != Op::forward) return "unfused_cuda has no backward pass";
    return {};
  }

  std::vector<Parameter> parameters(Op) const override { return {}; }
  std::vector<Constraint> constraints(Op) const override { return {}; }

  Configuration baseline(const Problem& problem, const Target&) const override {
    return {kernel_name(*this, problem.op), {}};
  }

  KernelTemplate kernel_template(Op) const override {
    return {.source_path = "kernels/reference/unfused_cuda.cuh",
            .config_type = "fcsa::kernels::unfused::Config",
            .kernels = {"fcsa::kernels::unfused::normalise", "fcsa::kernels::unfused::scores",
                        "fcsa::kernels::unfused::softmax", "fcsa::kernels::unfused::output"}};
  }

  LaunchPlan plan(const Traits& traits, const Configuration&, const Args& args) const override {
    return unfused::cuda_plan(traits, args);
  }

  Tile tile(const Configuration&) const override { return {unfused::kTile, unfused::kTile}; }
};

}  // namespace

std::unique_ptr<Family> make_unfused_cuda_family() {
  return std::make_unique<UnfusedCudaFamily>();
}

}  // namespace fcsa::kernels
