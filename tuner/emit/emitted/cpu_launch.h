
namespace detail {

using fcsa::kernels::cpu::TaskFunction;

// A kernel that takes all of BackwardArgs.
template <void (*kKernel)(const BackwardArgs&, long long, void*)>
void with_gradients(const Args& args, long long task, void* scratch) {
  kKernel(static_cast<const BackwardArgs&>(args), task, scratch);
}

struct Variant {
  const char* configuration;
  LaunchPlan (*plan)(const BackwardArgs&);
  const TaskFunction* kernels;  // in the order that Launch::kernel counts
};

// From the description of a compiled configuration that the tables below have.
template <typename Compiled>
constexpr Variant variant() {
  return {Compiled::text, Compiled::plan, Compiled::kernels};
}

// What is compiled for one instruction set.
struct InstructionSet {
  Isa isa;
  const char* name;
  const Table* table;
  const Variant* variants;
};

// False when there is no memory for threads and their scratch.
inline bool run(const Variant& variant, const LaunchPlan& plan, const BackwardArgs& args) {
  return fcsa::kernels::cpu::run_plan(plan, args, variant.kernels);
}

inline int multiprocessors_or(int) {
  // No static that is set on first use: a fork() meanwhile would leave it locked in the child.
  static std::atomic<int> known{0};
  int cores = known.load(std::memory_order_relaxed);
  if (cores == 0) known.store(cores = fcsa::kernels::cpu::usable_cores(), std::memory_order_relaxed);
  return cores;
}

// Also asks whether the operating system saves the registers.
inline bool runs_here(Isa isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return isa == Isa::avx512 ? avx512 : isa == Isa::avx2 ? avx2 : true;
#else
  return isa == Isa::generic;
#endif
}

}  // namespace detail
