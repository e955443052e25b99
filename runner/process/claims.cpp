#include "runner/process/claims.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>

namespace fcsa::runner {
namespace {

namespace fs = std::filesystem;

void remove_if_abandoned(const fs::path& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0 || status.st_uid != ::geteuid()) return;
  // Also fails where the file system has no locks: then it stays, whoever it belongs to.
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return;
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

}  // namespace

bool claim(const FileDescriptor& file) {
  int locked = 0;
  do locked = ::flock(file.get(), LOCK_EX);
  while (locked != 0 && errno == EINTR);
  struct stat status {};
  return locked != 0 || ::fstat(file.get(), &status) != 0 || status.st_nlink > 0;
}

void remove_abandoned(const fs::path& folder, const std::function<bool(const std::string&)>& ours) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (ours(entry->path().filename().string())) remove_if_abandoned(entry->path());
}

}  // namespace fcsa::runner
