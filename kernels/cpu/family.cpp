// The cpu family: search space, constraints, baseline.
#include "kernels/config_fields.h"
#include "kernels/cpu/backward_space.h"
#include "kernels/cpu/baseline.h"
#include "kernels/families.h"

namespace fcsa::kernels {
namespace {

using cpu::ForwardConfig;

const std::vector<ConfigField<ForwardConfig>>& forward_fields() {
  static const std::vector<ConfigField<ForwardConfig>> fields = {
      {&ForwardConfig::vector_floats, "vector_floats", {4, 8, 16}, "floats in a vector"},
      {&ForwardConfig::qk_rows, "qk_rows", {4, 5, 6, 8, 12}, "query rows of a register tile of Q K^T"},
      {&ForwardConfig::qk_vectors, "qk_vectors", {2, 3, 4, 5}, "vectors of keys of a register tile of Q K^T"},
      {&ForwardConfig::pv_rows, "pv_rows", {4, 5, 6, 8, 12, 24}, "query rows of a register tile of P V"},
      {&ForwardConfig::pv_vectors,
       "pv_vectors",
       {1, 2, 3, 4, 5},
       "vectors of channels of a register tile of P V"},
      {&ForwardConfig::row_groups, "row_groups", {4, 8, 16, 24}, "register tiles of query rows in a task"},
      {&ForwardConfig::key_steps, "key_steps", {1, 2, 4, 8, 16}, "register tiles of keys in a block"},
      {&ForwardConfig::unroll, "unroll", {1, 2, 4}, "steps of the inner loops that are written out"},
      {&ForwardConfig::pack_v,
       "pack_v",
       {0, 1},
       "f32 without a mask: 1 copies V next to the packed K, 0 reads it in place"},
  };
  return fields;
}

ForwardConfig config_of(const Configuration& configuration) {
  return to_struct(forward_fields(), configuration);
}

// Bytes that a task touches again and again while it walks over one block of keys.
std::size_t working_set_bytes(const Problem& problem, const ForwardConfig& config) {
  return static_cast<std::size_t>(config.scratch_bytes(traits_of(problem))) +
         std::size_t{8} * static_cast<std::size_t>(config.block_keys() * problem.head_dim);
}

class CpuFamily final : public Family {
 public:
  std::string name() const override { return "cpu"; }
  DeviceKind device_kind() const override { return DeviceKind::cpu; }

  std::vector<Parameter> parameters(Op op) const override {
    return op == Op::backward ? cpu::backward_parameters() : parameters_of(forward_fields());
  }

  std::vector<Constraint> constraints(Op op) const override {
    return op == Op::backward ? cpu::backward_constraints() : forward_constraints();
  }

  Configuration baseline(const Problem& problem, const Target& target) const override {
    const std::string kernel = kernel_name(*this, problem.op);
    if (problem.op == Op::backward) return cpu::backward_baseline(kernel, problem, target);
    return from_struct(forward_fields(), kernel, cpu::baseline_config(target.arch, problem.head_dim));
  }

  KernelTemplate kernel_template(Op op) const override {
    const std::string space = "fcsa::kernels::cpu::native::";
    if (op == Op::backward) {
      return {"kernels/cpu/backward.h",
              "fcsa::kernels::cpu::BackwardConfig",
              {space + "prepare_gradients", space + "key_gradients", space + "query_gradients",
               space + "shared_gradients"}};
    }
    return {
        "kernels/cpu/forward.h", "fcsa::kernels::cpu::ForwardConfig", {space + "prepare", space + "forward"}};
  }

  LaunchPlan plan(const Traits& traits, const Configuration& configuration,
                  const BackwardArgs& args) const override {
    if (is_backward(configuration)) return cpu::backward_config_of(configuration).plan(traits, args);
    return config_of(configuration).plan(traits, args);
  }

  GradientKernels gradient_kernels(const Configuration& configuration) const override {
    return cpu::gradient_kernels(cpu::backward_config_of(configuration));
  }

  Tile tile(const Configuration& configuration) const override {
    if (is_backward(configuration)) return tile_of(cpu::backward_config_of(configuration));
    return tile_of(config_of(configuration));
  }

 private:
  bool is_backward(const Configuration& configuration) const {
    return configuration.kernel == kernel_name(*this, Op::backward);
  }

  template <typename Config>
  static Tile tile_of(const Config& config) {
    return {.rows = config.block_rows(), .keys = config.block_keys()};
  }

  static std::vector<Constraint> forward_constraints() {
    using P = const Problem&;
    using V = const ForwardConfig&;
    using D = const Target&;
    std::vector<ConfigRule<ForwardConfig>> rules = {
        {"vectors wider than the instruction set has, or less than half as wide",
         [](P, V c, D d) { return cpu::suits_vectors(d.arch, c.vector_floats); },
         {"vector_floats"}},
        {"head dimension is not a multiple of a register tile of P V",
         [](P p, V c, D) { return p.head_dim % c.pv_channels() == 0; },
         {"vector_floats", "pv_vectors"}},
        {"register tile of Q K^T above the vector registers",
         [](P, V c, D d) { return c.qk_registers() <= cpu::vector_registers_of(d.arch); },
         {"qk_rows", "qk_vectors"},
         RuleKind::worth},
        {"register tile of P V above the vector registers",
         [](P, V c, D d) { return c.pv_registers() <= cpu::vector_registers_of(d.arch); },
         {"pv_rows", "pv_vectors"},
         RuleKind::worth},
        {"register tile of Q K^T leaves most vector registers unused",
         [](P, V c, D d) { return c.qk_registers() * 3 >= 2 * cpu::vector_registers_of(d.arch); },
         {"qk_rows", "qk_vectors"},
         RuleKind::worth},
        {"register tile of P V leaves most vector registers unused",
         [](P, V c, D d) { return c.pv_registers() * 2 >= cpu::vector_registers_of(d.arch); },
         {"pv_rows", "pv_vectors"},
         RuleKind::worth},
        {"rows of a task are not a multiple of a register tile of P V",
         [](P, V c, D) { return c.block_rows() % c.pv_rows == 0; },
         {"qk_rows", "pv_rows", "row_groups"}},
        {"task of fewer than 16 or more than 192 rows",
         [](P, V c, D) { return c.block_rows() >= 16 && c.block_rows() <= 192; },
         {"qk_rows", "row_groups"},
         RuleKind::worth},
        {"block of fewer than 32 or more than 512 keys",
         [](P, V c, D) { return c.block_keys() >= 32 && c.block_keys() <= 512; },
         {"vector_floats", "qk_vectors", "key_steps"},
         RuleKind::worth},
        {"working set above four times the level 2 cache",
         [](P p, V c, D d) { return d.l2_bytes == 0 || working_set_bytes(p, c) <= 4 * d.l2_bytes; },
         {"vector_floats", "qk_rows", "qk_vectors", "row_groups", "key_steps"},
         RuleKind::worth},
        {"more steps written out than the channels divide into",
         [](P p, V c, D) { return p.head_dim % c.unroll == 0; },
         {"unroll"}},
        {"f16 and bf16, and what has a mask, are always packed",
         [](P p, V c, D) { return c.pack_v || !c.packs_v(traits_of(p)); },
         {"pack_v"}},
    };
    return constraints_of(forward_fields(), std::move(rules));
  }
};

}  // namespace

std::unique_ptr<Family> make_cpu_family() {
  return std::make_unique<CpuFamily>();
}

}  // namespace fcsa::kernels
