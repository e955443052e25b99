// Built-in kernels for processors with AVX2. Only the kernels are compiled for it: what other translation
// units could share, the linker may take from here, so it is included before.
#include "kernels/cpu/baseline.h"
#include "kernels/cpu/builtin_lookup.h"

#if defined(__x86_64__)
#define FCSA_CPU_ISA avx2
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")
#endif

#include "kernels/cpu/backward.h"
#include "kernels/cpu/forward.h"

#include "kernels/cpu/builtin_table.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
