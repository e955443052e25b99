#include "runner/process/temporary_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "runner/process/claims.h"

namespace fcsa::runner {
namespace {

// Nobody names a folder of his own like this: those that are abandoned are removed by their names.
constexpr const char* kPrefix = "fcsa-temporary-";

}  // namespace

std::string TemporaryDirectory::default_parent() {
  const char* parent = std::getenv("TMPDIR");
  return parent != nullptr && *parent != '\0' ? parent : "/tmp";
}

TemporaryDirectory::TemporaryDirectory(const std::string& parent) {
  do {
    std::string name = parent + "/" + kPrefix + "XXXXXX";
    if (::mkdtemp(name.data()) == nullptr)
      throw std::system_error(errno, std::generic_category(),
                              "cannot make the directory " + name + ", set TMPDIR to a folder with room");
    path_ = name;
    claim_ = FileDescriptor(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  } while (!claim_ || !claim(claim_));
}

TemporaryDirectory::~TemporaryDirectory() {
  if (::getpid() != owner_) return;  // a copy, in a process made by fork()
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void TemporaryDirectory::remove_abandoned() {
  runner::remove_abandoned(default_parent(),
                           [](const std::string& name) { return name.starts_with(kPrefix); });
}

}  // namespace fcsa::runner
