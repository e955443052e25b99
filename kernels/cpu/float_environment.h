// The state of the floating-point unit. Standard headers only: also pasted into emitted headers.
#pragma once

namespace fcsa::kernels::cpu {

// Rounding to nearest with denormal numbers, for the length of a scope, in the calling thread: a program that
// was linked with -Ofast or -ffast-math takes denormal numbers for zero, and others change the rounding.
class DefaultFloatEnvironment {
 public:
  DefaultFloatEnvironment() : before_(state()) {
    if ((before_ & kMatters) != kDefault) set(kDefault);
  }
  ~DefaultFloatEnvironment() {
    if ((before_ & kMatters) != kDefault) set(before_);
  }
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

 private:
#if defined(__x86_64__)
  using State = unsigned;
  static constexpr State kDefault = 0x1f80;  // MXCSR: all exceptions masked
  static constexpr State kMatters = 0xffc0;  // all but the flags of exceptions that have occurred
  static State state() {
    return __builtin_ia32_stmxcsr();
  }
  static void set(State state) {
    __builtin_ia32_ldmxcsr(state);
  }
#elif defined(__aarch64__)
  using State = unsigned long;
  static constexpr State kDefault = 0, kMatters = ~State{0};  // FPCR
  static State state() {
    State value;
    asm volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }
  static void set(State state) {
    asm volatile("msr fpcr, %0" : : "r"(state));
  }
#else
  using State = int;
  static constexpr State kDefault = 0, kMatters = 0;
  static State state() {
    return kDefault;
  }
  static void set(State) {}
#endif

  const State before_;
};

}  // namespace fcsa::kernels::cpu
