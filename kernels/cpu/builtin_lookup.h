// What builtin.cpp asks of the instances of each instruction set.
#pragma once

#include "kernels/cpu/config.h"

namespace fcsa::kernels::cpu {

struct BuiltinFunctions {
  Traits traits;
  ForwardConfig config;
  void (*prepare)(const Args&, long long, void*) = nullptr;  // null: no such instance
  void (*forward)(const Args&, long long, void*) = nullptr;
};

namespace generic {
BuiltinFunctions builtin_functions(const Traits& traits);
}
#if defined(__x86_64__)
namespace avx2 {
BuiltinFunctions builtin_functions(const Traits& traits);
}
namespace avx512 {
BuiltinFunctions builtin_functions(const Traits& traits);
}
#endif

}  // namespace fcsa::kernels::cpu
