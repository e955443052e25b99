// Writes a tuned header: the chosen kernels, the dispatch table and a host function, in one self-contained
// file.
#pragma once

#include <filesystem>
#include <vector>

#include "tuner/dispatch.h"

namespace fcsa::tuner {

// fcsa_tuned_sm_90.cuh (needs nvcc -std=c++20) or fcsa_tuned_cpu.h (g++ or clang++, plain -O2).
std::string header_name(const DispatchTable& table);
std::string header_text(const DispatchTable& table);
// Written to a temporary name and renamed: readers never see half a file. Returns the path. Throws
// std::runtime_error.
std::filesystem::path emit_header(const DispatchTable& table, const std::filesystem::path& directory);

}  // namespace fcsa::tuner
