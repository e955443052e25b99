// Which instruction set the CPU kernels are compiled for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fcsa::kernels::cpu {

// The best one that this processor and its operating system run: "avx512", "avx2", "neon" or "generic".
std::string host_instruction_set();

// Options for g++ and clang++ that enable one of those on its own architecture, part of the cache key. They
// name instruction sets rather than say -march=native, so that equal names mean equal code. Throws
// std::invalid_argument listing the names there are.
std::vector<std::string> compile_flags_for(std::string_view instruction_set);

}  // namespace fcsa::kernels::cpu
