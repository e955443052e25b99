// Compiled kernels on disk, found by the content of what they were compiled from. Safe with several
// processes.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/family.h"
#include "runner/device/compiler.h"
#include "runner/device/device.h"
#include "tuner/trials/trial.h"

namespace fcsa::runner {

// What a compiler does to a source, apart from the source.
struct CompilerDescription {
  std::string version;
  std::vector<std::string> options;  // for one target
};

// C++ without its comments and blank lines; literals are left as they are.
std::string without_comments(std::string_view source);

// 32 hexadecimal digits: xxh3-128.
std::string content_hash(std::string_view content);

// content_hash of the source without comments, its entries, the options, the architecture and the compiler's
// version. The source hash of a trial and the name of the binary in the cache.
std::string source_hash(const kernels::KernelSource& source, const kernels::Target& target,
                        const CompilerDescription& compiler);

// $XDG_CACHE_HOME/fcsa, or ~/.cache/fcsa. Throws std::runtime_error when neither variable is set.
std::filesystem::path default_cache_directory();

struct CachedBinary {
  Binary binary;
  tuner::Resources resources;
  std::vector<std::string> warnings;
};

class BinaryCache {
 public:
  // Makes the directory. Throws std::runtime_error naming it when it can't be made or written to.
  explicit BinaryCache(std::filesystem::path directory);

  const std::filesystem::path& directory() const { return directory_; }
  // Nothing when there is no entry, or when its files are incomplete or damaged.
  std::optional<CachedBinary> find(const std::string& key) const;
  // Files `<key>.cubin` or `<key>.so`, then `<key>.json`, each written under a temporary name and renamed;
  // the JSON file makes the entry valid. Throws std::runtime_error naming the file when it can't be written.
  // Whether shared objects there can be loaded: the file system may be mounted with noexec.
  bool executable() const;
  CachedBinary store(const std::string& key, kernels::DeviceKind kind, const CompileResult& result) const;
  // Removes half-written files of processes of this machine that were killed.
  void remove_abandoned() const;

 private:
  void write(const std::filesystem::path& path, std::string_view bytes) const;

  std::filesystem::path directory_;
};

}  // namespace fcsa::runner
