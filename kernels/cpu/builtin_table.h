// Included by builtin_<instruction set>.cpp after forward.h: that instruction set's instances and their
// table.

#include "kernels/cpu/baseline.h"
#include "kernels/cpu/builtin_lookup.h"

#define FCSA_CPU_TEXT_OF(name) #name
#define FCSA_CPU_TEXT(name) FCSA_CPU_TEXT_OF(name)

namespace fcsa::kernels::cpu::FCSA_CPU_ISA {

// One instance serves masked and unmasked problems (a null mask hides nothing), one scale and one per head
// (null: args.scale), and both softmax variants.
template <DType Type, int HeadDim, bool Causal, bool Normalised>
BuiltinFunctions instance() {
  constexpr Traits kTraits{.dtype = Type,
                           .head_dim = HeadDim,
                           .causal = Causal,
                           .key_mask = true,
                           .head_scale = true,
                           .l2norm_qk = Normalised,
                           .softmax = Softmax::running_maximum};
  constexpr ForwardConfig kConfig = baseline_config(FCSA_CPU_TEXT(FCSA_CPU_ISA), HeadDim);
  return {kTraits, kConfig, prepare<kTraits, kConfig>, forward<kTraits, kConfig>};
}

template <DType Type, int HeadDim>
BuiltinFunctions choose(const Traits& traits) {
  if (traits.causal)
    return traits.l2norm_qk ? instance<Type, HeadDim, true, true>() : instance<Type, HeadDim, true, false>();
  return traits.l2norm_qk ? instance<Type, HeadDim, false, true>() : instance<Type, HeadDim, false, false>();
}

template <DType Type>
BuiltinFunctions choose(const Traits& traits) {
  switch (traits.head_dim) {
    case 16:
      return choose<Type, 16>(traits);
    case 32:
      return choose<Type, 32>(traits);
    case 64:
      return choose<Type, 64>(traits);
    case 80:
      return choose<Type, 80>(traits);
    case 96:
      return choose<Type, 96>(traits);
    case 128:
      return choose<Type, 128>(traits);
    default:
      return {};
  }
}

BuiltinFunctions builtin_functions(const Traits& traits) {
  switch (traits.dtype) {
    case DType::f32:
      return choose<DType::f32>(traits);
    case DType::bf16:
      return choose<DType::bf16>(traits);
    case DType::f16:
      return choose<DType::f16>(traits);
  }
  return {};
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA
