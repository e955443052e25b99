#include "library/binaries.h"

#include <fmt/format.h>

#include <stdexcept>
#include <utility>

#include "library/failure.h"

namespace fcsa::library {

Binaries::Binaries(const char* cache_directory, std::shared_ptr<Notes> notes)
    : directory_(cache_directory != nullptr ? std::optional<std::filesystem::path>(cache_directory)
                                            : std::nullopt),
      notes_(std::move(notes)) {}

Binaries::Compiled Binaries::compile(const kernels::KernelSource& source, const kernels::Target& target) {
  runner::Compiler& compiler = compiler_for(source.kind);
  const std::string version = compiler.version();
  const std::string key = runner::source_hash(source, target, {version, runner::compile_options(target)});
  if (auto found = cache().find(key)) return {std::move(found->binary), version};
  const auto result = compiler.compile(source, target);
  if (!result.ok) {
    throw Failure(FCSA_COMPILE_FAILED, fmt::format("{} could not compile a kernel for {}: {}", version,
                                                   target.arch, result.message));
  }
  return {keep(key, source.kind, result).binary, version};
}

runner::Compiler& Binaries::compiler_for(kernels::DeviceKind kind) {
  const std::lock_guard lock(mutex_);
  auto& compiler = kind == kernels::DeviceKind::cuda ? nvrtc_ : system_;
  try {
    if (!compiler)
      compiler =
          kind == kernels::DeviceKind::cuda ? runner::make_nvrtc_compiler() : runner::make_system_compiler();
  } catch (const std::runtime_error& error) {
    throw Failure(FCSA_NO_COMPILER, error.what());
  }
  return *compiler;
}

const runner::BinaryCache& Binaries::cache() {
  const std::lock_guard lock(mutex_);
  if (cache_) return *cache_;
  try {
    cache_ =
        std::make_unique<runner::BinaryCache>(directory_ ? *directory_ : runner::default_cache_directory());
  } catch (const std::runtime_error& error) {
    return temporary_cache(error.what());
  }
  return *cache_;
}

// Precondition: locked.
const runner::BinaryCache& Binaries::temporary_cache(const std::string& why) {
  if (!second_cache_) {
    notes_->say(fmt::format("{}; until then compiled kernels are lost when the library is closed", why));
    temporary_ = std::make_unique<runner::TemporaryDirectory>();
    second_cache_ = std::make_unique<runner::BinaryCache>(temporary_->path());
  }
  return *second_cache_;
}

runner::CachedBinary Binaries::keep(const std::string& key, kernels::DeviceKind kind,
                                    const runner::CompileResult& result) {
  try {
    return cache().store(key, kind, result);
  } catch (const std::runtime_error& error) {
    const std::lock_guard lock(mutex_);
    return temporary_cache(error.what()).store(key, kind, result);
  }
}

}  // namespace fcsa::library
