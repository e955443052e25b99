#include "runner/compile/binary_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "runner/device/json.h"
#include "runner/process/claims.h"
#include "runner/process/dynamic_library.h"
#include "runner/process/file_descriptor.h"

namespace fcsa::runner {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::size_t kLogTailBytes = std::size_t{16} << 10;

[[noreturn]] void throw_unwritable(const fs::path& path, int error) {
  throw std::runtime_error(
      fmt::format("cannot write {}: {}; free space there or choose another cache directory (XDG_CACHE_HOME)",
                  path.string(), std::generic_category().message(error)));
}

std::optional<std::string> read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

std::string hash_of(std::string_view bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

constexpr std::string_view kTemporaryEnding = ".tmp";

std::string host_name() {
  std::string host(64, '\0');
  if (::gethostname(host.data(), host.size() - 1) != 0) host = "localhost";
  return host.c_str();
}

// Unique among processes and threads, also those that share the directory over a network.
std::string temporary_suffix() {
  static std::atomic<unsigned> counter{0};
  return fmt::format(".{}.{}.{}{}", host_name(), ::getpid(), counter++, kTemporaryEnding);
}

FileDescriptor create(const fs::path& path) {
  for (;;) {
    FileDescriptor file = above_standard_streams(
        FileDescriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)));
    if (!file) throw_unwritable(path, errno);
    if (claim(file)) return file;
  }
}

// The file is claimed while the result is open, and complete.
FileDescriptor write_all(const fs::path& path, std::string_view bytes) {
  FileDescriptor file = create(path);
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) throw_unwritable(path, written < 0 ? errno : ENOSPC);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return file;
}

}  // namespace

fs::path default_cache_directory() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0')
    return fs::path(cache) / "fcsa";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0')
    return fs::path(home) / ".cache" / "fcsa";
  throw std::runtime_error("no place for compiled kernels: set XDG_CACHE_HOME or HOME");
}

BinaryCache::BinaryCache(fs::path directory) : directory_(std::move(directory)) {
  std::error_code error;
  fs::create_directories(directory_, error);
  if (error) throw_unwritable(directory_, error.value());
  const fs::path probe = directory_ / ("probe" + temporary_suffix());
  const FileDescriptor file = write_all(probe, "");
  fs::remove(probe, error);
}

std::optional<CachedBinary> BinaryCache::find(const std::string& key) const {
  const auto text = read_file(directory_ / (key + ".json"));
  if (!text) return std::nullopt;
  try {
    const json entry = json::parse(*text);
    const fs::path path = directory_ / entry.at("file").get<std::string>();
    const auto bytes = read_file(path);
    if (!bytes || entry.at("bytes") != bytes->size() || entry.at("hash") != hash_of(*bytes))
      return std::nullopt;
    return CachedBinary{{path.string(), entry.at("symbols").get<std::vector<std::string>>()},
                        entry.at("resources").get<tuner::Resources>(),
                        entry.at("warnings").get<std::vector<std::string>>()};
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

bool BinaryCache::executable() const {
  return !mounted_noexec(directory_);
}

CachedBinary BinaryCache::store(const std::string& key, kernels::DeviceKind kind,
                                const CompileResult& result) const {
  const std::string file = key + (kind == kernels::DeviceKind::cuda ? ".cubin" : ".so");
  const std::size_t log_begin = result.log.size() - std::min(result.log.size(), kLogTailBytes);
  const json entry = {{"file", file},
                      {"bytes", result.binary.size()},
                      {"hash", hash_of(result.binary)},
                      {"symbols", result.symbols},
                      {"resources", result.resources},
                      {"warnings", result.warnings},
                      {"log", result.log.substr(log_begin)}};
  write(directory_ / file, result.binary);
  write(directory_ / (key + ".json"), entry.dump(1, ' ', false, json::error_handler_t::replace));
  return {{(directory_ / file).string(), result.symbols}, result.resources, result.warnings};
}

// Those of other machines that share the directory stay: locks may not reach that far.
void BinaryCache::remove_abandoned() const {
  const std::string host = fmt::format(".{}.", host_name());
  runner::remove_abandoned(directory_, [&](const std::string& name) {
    return name.ends_with(kTemporaryEnding) && name.find(host) != std::string::npos;
  });
}

void BinaryCache::write(const fs::path& path, std::string_view bytes) const {
  const fs::path temporary = path.string() + temporary_suffix();
  try {
    const FileDescriptor file = write_all(temporary, bytes);
    fs::rename(temporary, path);
  } catch (const fs::filesystem_error& error) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw_unwritable(path, error.code().value());
  } catch (...) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw;
  }
}

}  // namespace fcsa::runner
