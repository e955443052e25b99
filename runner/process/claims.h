// Temporary files and folders that know whether their owner lives: a killed process leaves them behind, and
// the next one can tell them from those in use.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "runner/process/file_descriptor.h"

namespace fcsa::runner {

// Locks an open file or folder for as long as the descriptor is open, so until its process ends at the
// latest. False when remove_abandoned() took it away before: make another. Where the file system has no
// locks, true.
bool claim(const FileDescriptor& file);

// Removes the user's entries of a folder that `ours` recognises by name and that nobody claims. What can't be
// removed stays; never throws for that.
void remove_abandoned(const std::filesystem::path& folder,
                      const std::function<bool(const std::string& name)>& ours);

}  // namespace fcsa::runner
