#include "kernels/cpu/instruction_set.h"

#include <stdexcept>

namespace fcsa::kernels::cpu {

std::string host_instruction_set() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  // Every processor with AVX2 has F16C; GCC 12 has no name for it in __builtin_cpu_supports.
  return avx512 ? "avx512" : avx2 ? "avx2" : "generic";
#elif defined(__aarch64__)
  return "neon";
#else
  return "generic";
#endif
}

std::vector<std::string> compile_flags_for(std::string_view instruction_set) {
  // GCC and clang both tune AVX-512 code for 256-bit vectors unless told otherwise.
  if (instruction_set == "avx512") {
    return {"-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl",    "-mavx2",
            "-mfma",     "-mf16c",     "-mbmi2",     "-mtune=native", "-mprefer-vector-width=512"};
  }
  if (instruction_set == "avx2") return {"-mavx2", "-mfma", "-mf16c", "-mbmi2", "-mtune=native"};
  if (instruction_set == "neon" || instruction_set == "generic") return {};
  throw std::invalid_argument("unknown instruction set '" + std::string(instruction_set) +
                              "': use avx512, avx2, neon or generic");
}

}  // namespace fcsa::kernels::cpu
