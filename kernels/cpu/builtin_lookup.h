// What builtin.cpp asks of the instances of each instruction set.
#pragma once

#include "kernels/cpu/backward_config.h"
#include "kernels/cpu/config.h"
#include "kernels/problem.h"

namespace fcsa::kernels::cpu {

struct BuiltinFunctions {
  Traits traits;
  ForwardConfig forward;    // the configuration of
  BackwardConfig backward;  // one of these
  int count = 0;            // 0: no such instance
  void (*functions[4])(const Args&, long long, void*) = {};
};

namespace generic {
BuiltinFunctions builtin_functions(Op op, const Traits& traits);
}
#if defined(__x86_64__)
namespace avx2 {
BuiltinFunctions builtin_functions(Op op, const Traits& traits);
}
namespace avx512 {
BuiltinFunctions builtin_functions(Op op, const Traits& traits);
}
#endif

}  // namespace fcsa::kernels::cpu
