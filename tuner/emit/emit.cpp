#include "tuner/emit/emit.h"

#include <fmt/format.h>

#include <stdexcept>
#include <system_error>

#include "tuner/emit/json.h"
#include "tuner/emit/tables.h"
#include "tuner/trials/whole_file.h"

namespace fcsa::tuner {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const std::string& reason) {
  throw std::runtime_error(
      fmt::format("can't write '{}': {}; choose another directory with --out", path.string(), reason));
}

}  // namespace

std::string source_hash_of(const Emission& emission, const EmittedVariant& variant) {
  const auto& hashes = emission.provenance.source_hashes;
  const auto found = hashes.find({variant.tuned_as, configuration_text(variant)});
  return found == hashes.end() ? "" : found->second;
}

std::string emitted_name(const Emission& emission, Format format) {
  const kernels::Target& target = emission.table.device.target;
  const bool cpu = target.kind == kernels::DeviceKind::cpu;
  const char* extension = format == Format::json ? "json" : cpu || !emission.compiled.empty() ? "h" : "cuh";
  return cpu ? fmt::format("fcsa_tuned_cpu.{}", extension)
             : fmt::format("fcsa_tuned_sm_{}.{}", target.compute_capability, extension);
}

std::string emitted_text(const Emission& emission, Format format) {
  if (format == Format::json) return table_json(emission);
  return emission.table.device.target.kind == kernels::DeviceKind::cpu ? cpu_header_text(emission)
                                                                       : cuda_header_text(emission);
}

fs::path emit(const Emission& emission, Format format, const fs::path& directory) {
  const std::string text = emitted_text(emission, format);
  fs::path path = directory / emitted_name(emission, format);
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) fail(path, error.message());
  try {
    write_whole_file(path, text);
  } catch (const std::system_error& cause) {
    fail(path, cause.code().message());
  }
  return path;
}

}  // namespace fcsa::tuner
