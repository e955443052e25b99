#include "library/binaries.h"

#include <fmt/format.h>

#include <stdexcept>
#include <system_error>
#include <utility>

#include "library/failure.h"
#include "runner/device/host_failure.h"

namespace fcsa::library {

Binaries::Binaries(const char* cache_directory, std::shared_ptr<Notes> notes)
    : directory_(cache_directory != nullptr ? std::optional<std::filesystem::path>(cache_directory)
                                            : std::nullopt),
      notes_(std::move(notes)) {}

Binaries::Compiled Binaries::compile(const kernels::KernelSource& source, const kernels::Target& target) {
  runner::Compiler& compiler = compiler_for(source.kind);
  const std::string version = compiler.version();
  const std::string key = runner::source_hash(source, target, {version, runner::compile_options(target)});
  if (auto found = cache(source.kind).find(key)) return {std::move(found->binary), version};
  const auto result = compiled(compiler, source, target);
  if (!result.ok) {
    if (result.out_of_memory)
      throw Failure(FCSA_OUT_OF_MEMORY,
                    fmt::format("not enough memory to compile a kernel: {}", result.message));
    throw Failure(FCSA_COMPILE_FAILED, fmt::format("{} could not compile a kernel for {}: {}", version,
                                                   target.arch, result.message));
  }
  return {keep(key, source.kind, result).binary, version};
}

runner::CompileResult Binaries::compiled(runner::Compiler& compiler, const kernels::KernelSource& source,
                                         const kernels::Target& target) {
  {
    const std::lock_guard lock(mutex_);
    refuse_if_it_hangs(source.kind);
  }
  try {
    return compiler.compile(source, target);
  } catch (const runner::CompilerHangs& error) {
    const std::lock_guard lock(mutex_);
    hangs_.try_emplace(source.kind, error.what());
    throw Failure(FCSA_NO_COMPILER, error.what());
  }
}

// Precondition: locked.
void Binaries::refuse_if_it_hangs(kernels::DeviceKind kind) const {
  if (const auto known = hangs_.find(kind); known != hangs_.end())
    throw Failure(FCSA_NO_COMPILER, known->second);
}

runner::Compiler& Binaries::compiler_for(kernels::DeviceKind kind) {
  const std::lock_guard lock(mutex_);
  auto& compiler = kind == kernels::DeviceKind::cuda ? nvrtc_ : system_;
  if (!compiler) refuse_if_it_hangs(kind);
  try {
    if (!compiler) {
      const auto deadline = runner::kernel_deadline();
      compiler = kind == kernels::DeviceKind::cuda ? runner::make_nvrtc_compiler(deadline)
                                                   : runner::make_system_compiler(deadline);
    }
  } catch (const runner::HostFailure&) {
    throw;
  } catch (const runner::CompilerHangs& error) {
    hangs_.try_emplace(kind, error.what());
    throw Failure(FCSA_NO_COMPILER, error.what());
  } catch (const std::runtime_error& error) {
    throw Failure(FCSA_NO_COMPILER, error.what());
  }
  return *compiler;
}

void Binaries::done_without(const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    if (!done_without_.insert(why).second) return;
  }
  notes_->say(fmt::format("kernels that are built in run in place of tuned ones, which are faster: {}", why));
}

const runner::BinaryCache& Binaries::cache(kernels::DeviceKind kind) {
  const std::lock_guard lock(mutex_);
  try {
    if (!cache_)
      cache_ =
          std::make_unique<runner::BinaryCache>(directory_ ? *directory_ : runner::default_cache_directory());
  } catch (const std::runtime_error& error) {
    return temporary_cache(error.what());
  }
  if (kind == kernels::DeviceKind::cuda || cache_->executable()) return *cache_;
  return temporary_cache(
      fmt::format("{} is on a file system that is mounted with noexec: choose another cache directory "
                  "(fcsa_options.cache_directory, XDG_CACHE_HOME)",
                  cache_->directory().string()));
}

// Precondition: locked.
const runner::BinaryCache& Binaries::temporary_cache(const std::string& why) {
  if (!second_cache_) {
    try {
      temporary_ = std::make_unique<runner::TemporaryDirectory>();
    } catch (const std::system_error& error) {
      throw runner::HostFailure(fmt::format("{}; {}", why, error.what()));
    }
    notes_->say(fmt::format("{}; until then compiled kernels are lost when the library is closed", why));
    second_cache_ = std::make_unique<runner::BinaryCache>(temporary_->path());
  }
  return *second_cache_;
}

runner::CachedBinary Binaries::keep(const std::string& key, kernels::DeviceKind kind,
                                    const runner::CompileResult& result) {
  try {
    return cache(kind).store(key, kind, result);
  } catch (const std::runtime_error& error) {
    const std::lock_guard lock(mutex_);
    return temporary_cache(error.what()).store(key, kind, result);
  }
}

}  // namespace fcsa::library
