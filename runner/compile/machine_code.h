// What a cubin makes a GPU execute, apart from how its source was written.
#pragma once

#include <string>
#include <string_view>

namespace fcsa::runner {

// 32 hexadecimal digits: xxh3-128 of every kernel's instructions, constants that the compiler put beside
// them, registers, stack, static shared and local memory, and the threads, cluster and barriers of its
// launches. Neither names (which contain all template arguments) nor the order of the kernels count, nor the
// size of the parameters, nor variables in device memory, where the compiler keeps constants of the source
// that no kernel reads. How many blocks are launched, with how much dynamic shared memory, is not in a cubin.
//
// Format: ELF64, little-endian (elf.h), sections and attributes as `cuobjdump -elf` prints them. Throws
// std::invalid_argument for anything else, for a file that is cut off, for one without kernels, and where
// instructions are completed only when they are loaded (relocations), since these can't be compared.
std::string machine_code_hash(std::string_view cubin);

}  // namespace fcsa::runner
