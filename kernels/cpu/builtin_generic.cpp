// Built-in kernels for any processor of this architecture.
#define FCSA_CPU_ISA generic
#include "kernels/cpu/backward.h"
#include "kernels/cpu/forward.h"

#include "kernels/cpu/builtin_table.h"
