// A directory of its owner's own, removed with everything in it.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>

#include "runner/process/file_descriptor.h"

namespace fcsa::runner {

class TemporaryDirectory {
 public:
  // Below `parent`; by default TMPDIR, or /tmp. Throws std::system_error naming the place when it can't be
  // made.
  explicit TemporaryDirectory(const std::string& parent = default_parent());
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

  // Removes those of killed processes below the default parent.
  static void remove_abandoned();

 private:
  static std::string default_parent();

  const pid_t owner_ = ::getpid();
  std::filesystem::path path_;
  FileDescriptor claim_;
};

}  // namespace fcsa::runner
