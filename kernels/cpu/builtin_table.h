// Included by builtin_<instruction set>.cpp after forward.h and backward.h: that instruction set's instances
// and their table.

#include "kernels/cpu/baseline.h"
#include "kernels/cpu/builtin_lookup.h"

#define FCSA_CPU_TEXT_OF(name) #name
#define FCSA_CPU_TEXT(name) FCSA_CPU_TEXT_OF(name)

namespace fcsa::kernels::cpu::FCSA_CPU_ISA {

// A backward kernel as one that takes any arguments.
template <void (*Kernel)(const BackwardArgs&, long long, void*)>
void backward_kernel(const Args& args, long long task, void* scratch) {
  Kernel(static_cast<const BackwardArgs&>(args), task, scratch);
}

// One instance serves masked and unmasked problems (a null mask hides nothing), one scale and one per head
// (null: args.scale), and both softmax variants.
template <DType Type, int HeadDim, bool Causal, bool Normalised>
BuiltinFunctions instance(Op op) {
  constexpr Traits kTraits{.dtype = Type,
                           .head_dim = HeadDim,
                           .causal = Causal,
                           .key_mask = true,
                           .head_scale = true,
                           .l2norm_qk = Normalised,
                           .softmax = Softmax::running_maximum};
  constexpr ForwardConfig kForward = baseline_config(FCSA_CPU_TEXT(FCSA_CPU_ISA), HeadDim);
  constexpr BackwardConfig kBackward = backward_baseline_config(FCSA_CPU_TEXT(FCSA_CPU_ISA), HeadDim);
  BuiltinFunctions found{.traits = kTraits, .forward = kForward, .backward = kBackward};
  const auto add = [&](void (*function)(const Args&, long long, void*)) {
    found.functions[found.count++] = function;
  };
  if (op == Op::forward) {
    add(prepare<kTraits, kForward>);
    add(forward<kTraits, kForward>);
  } else {
    // Which keys are visible matters to none of the others, as long as dQ needs no second walk.
    static_assert(kBackward.key_splits > 0);
    constexpr Traits kAny = with_causal(kTraits, false);
    add(backward_kernel<prepare_gradients<kAny, kBackward>>);
    add(backward_kernel<key_gradients<kTraits, kBackward>>);
    add(backward_kernel<query_gradients<kAny, kBackward>>);
    add(backward_kernel<shared_gradients<kAny, kBackward>>);
  }
  return found;
}

template <DType Type, int HeadDim>
BuiltinFunctions choose(Op op, const Traits& traits) {
  if (traits.causal)
    return traits.l2norm_qk ? instance<Type, HeadDim, true, true>(op)
                            : instance<Type, HeadDim, true, false>(op);
  return traits.l2norm_qk ? instance<Type, HeadDim, false, true>(op)
                          : instance<Type, HeadDim, false, false>(op);
}

template <DType Type>
BuiltinFunctions choose(Op op, const Traits& traits) {
  switch (traits.head_dim) {
    case 16:
      return choose<Type, 16>(op, traits);
    case 32:
      return choose<Type, 32>(op, traits);
    case 64:
      return choose<Type, 64>(op, traits);
    case 80:
      return choose<Type, 80>(op, traits);
    case 96:
      return choose<Type, 96>(op, traits);
    case 128:
      return choose<Type, 128>(op, traits);
    default:
      return {};
  }
}

BuiltinFunctions builtin_functions(Op op, const Traits& traits) {
  switch (traits.dtype) {
    case DType::f32:
      return choose<DType::f32>(op, traits);
    case DType::bf16:
      return choose<DType::bf16>(op, traits);
    case DType::f16:
      return choose<DType::f16>(op, traits);
  }
  return {};
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA
