#include "kernels/cpu/builtin.h"

#include <stdexcept>

#include "kernels/cpu/builtin_lookup.h"
#include "kernels/cpu/instruction_set.h"

namespace fcsa::kernels::cpu {
namespace {

BuiltinFunctions functions_for(Op op, const Traits& traits, std::string_view instruction_set) {
#if defined(__x86_64__)
  if (instruction_set == "avx512") return avx512::builtin_functions(op, traits);
  if (instruction_set == "avx2") return avx2::builtin_functions(op, traits);
#endif
  if (instruction_set == "generic") return generic::builtin_functions(op, traits);
  throw std::invalid_argument("no built-in kernels for instruction set '" + std::string(instruction_set) +
                              "'");
}

}  // namespace

Builtin builtin_kernels(Op op, const Traits& traits, std::string_view instruction_set) {
  if (traits.bias != Bias::none || (traits.l2norm_qk && traits.groups != 1))
    throw std::invalid_argument("the built-in CPU kernels have no bias and no grouped normalisation");
  const BuiltinFunctions found = functions_for(op, traits, instruction_set);
  if (found.count == 0) {
    throw std::invalid_argument("the built-in CPU kernels have no head dimension " +
                                std::to_string(traits.head_dim) + ": use 16, 32, 64, 80, 96 or 128");
  }
  Builtin builtin{std::string(instruction_set),
                  {found.functions, found.functions + found.count},
                  found.traits,
                  found.forward};
  if (op == Op::backward) builtin.config = found.backward;
  return builtin;
}

Builtin builtin_kernels(Op op, const Traits& traits) {
  const std::string best = host_instruction_set();
  return builtin_kernels(op, traits, best == "neon" ? "generic" : best);
}

}  // namespace fcsa::kernels::cpu
