#include "tuner/emit.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <stdexcept>
#include <system_error>

#include "tuner/emit_tables.h"

namespace fcsa::tuner {
namespace {

namespace fs = std::filesystem;

// A failure leaves no temporary file behind.
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& final_path)
      : path_(fmt::format("{}.{}.tmp", final_path.string(), ::getpid())) {}
  ~TemporaryFile() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

[[noreturn]] void fail(const fs::path& path, const std::string& reason) {
  throw std::runtime_error(fmt::format(
      "can't write the header to '{}': {}; choose another directory with --out", path.string(), reason));
}

}  // namespace

std::string header_name(const DispatchTable& table) {
  if (table.device.target.kind == kernels::DeviceKind::cpu) return "fcsa_tuned_cpu.h";
  return fmt::format("fcsa_tuned_sm_{}.cuh", table.device.target.compute_capability);
}

std::string header_text(const DispatchTable& table) {
  return table.device.target.kind == kernels::DeviceKind::cpu ? cpu_header_text(table)
                                                              : cuda_header_text(table);
}

fs::path emit_header(const DispatchTable& table, const fs::path& directory) {
  const std::string text = header_text(table);
  fs::path path = directory / header_name(table);
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) fail(path, error.message());
  const TemporaryFile temporary(path);
  std::ofstream file(temporary.path(), std::ios::binary);
  file << text;
  file.close();
  if (!file) fail(path, std::generic_category().message(errno));
  fs::rename(temporary.path(), path, error);
  if (error) fail(path, error.message());
  return path;
}

}  // namespace fcsa::tuner
