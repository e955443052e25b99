// A second translation unit with the same header.
#include "fcsa_tuned_cpu.h"

#if defined(FCSA_HD) || defined(FCSA_CPU_ISA) || defined(FCSA_CPU_INLINE)
#error "the header leaks macros"
#endif

fcsa_tuned::cpu::Status forward_in_second_unit(const fcsa_tuned::cpu::Attention& attention) {
  return fcsa_tuned::cpu::forward(attention);
}
