// A directory of its owner's own, removed with everything in it.
#pragma once

#include <filesystem>

#include "runner/file_descriptor.h"

namespace fcsa::runner {

class TemporaryDirectory {
 public:
  // Below TMPDIR, or /tmp. Throws std::system_error naming the place when it can't be made.
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

  // Removes the directories of processes that were killed.
  static void remove_abandoned();

 private:
  std::filesystem::path path_;
  FileDescriptor claim_;
};

}  // namespace fcsa::runner
