// What a tuned device's table is written out as: a header with the kernels and the choice between them, or
// the table as JSON.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tuner/emit/plan.h"
#include "tuner/emit/provenance.h"

namespace fcsa::tuner {

// A variant compiled for the device's architecture.
struct CompiledVariant {
  std::string cubin;                 // bytes
  std::vector<std::string> symbols;  // of the family's kernels, in the order that Launch::kernel counts
  Resources resources;
};

// Everything that goes into a file.
struct Emission {
  DispatchTable table;
  EmitPlan plan;
  Provenance provenance;
  std::string command;                         // that writes the file, as typed
  std::string sources = {};                    // whether the kernels are still those that were measured
  std::vector<CompiledVariant> compiled = {};  // empty, or one for each of EmitPlan::variants
  std::string compiler = {};                   // that made `compiled`: "NVRTC 13.0"
};

// Of the latest trial of a variant; empty when it wasn't tuned.
std::string source_hash_of(const Emission& emission, const EmittedVariant& variant);

enum class Format {
  header,  // CUDA without `compiled`: nvcc compiles the kernels; with it, any C++ compiler compiles the rest
  json     // docs/dispatch_table.md
};

// fcsa_tuned_sm_90.cuh (for nvcc), fcsa_tuned_sm_90.h (binaries inside), fcsa_tuned_cpu.h, or .json.
std::string emitted_name(const Emission& emission, Format format);
std::string emitted_text(const Emission& emission, Format format);
// Written to a temporary name and renamed: readers never see half a file. Returns the path. Throws
// std::runtime_error.
std::filesystem::path emit(const Emission& emission, Format format, const std::filesystem::path& directory);

}  // namespace fcsa::tuner
