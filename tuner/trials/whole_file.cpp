#include "tuner/trials/whole_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>

namespace fcsa::tuner {
namespace {

// Removed unless it was renamed.
class PendingFile {
 public:
  explicit PendingFile(const std::filesystem::path& target) : temporary_(target.string() + ".XXXXXX") {
    descriptor_ = ::mkostemp(temporary_.data(), O_CLOEXEC);
    if (descriptor_ < 0) fail();
  }
  ~PendingFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;

  void write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t written = ::write(descriptor_, text.data(), text.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail();
      text.remove_prefix(static_cast<std::size_t>(written));
    }
  }

  void rename_to(const std::filesystem::path& target) {
    constexpr mode_t kReadableByAll = 0644;
    if (::fchmod(descriptor_, kReadableByAll) != 0 || ::close(std::exchange(descriptor_, -1)) != 0 ||
        std::rename(temporary_.c_str(), target.c_str()) != 0)
      fail();
    temporary_.clear();
  }

 private:
  [[noreturn]] void fail() const { throw std::system_error(errno, std::generic_category()); }

  std::string temporary_;
  int descriptor_ = -1;
};

}  // namespace

void write_whole_file(const std::filesystem::path& path, std::string_view text) {
  PendingFile file(path);
  file.write(text);
  file.rename_to(path);
}

}  // namespace fcsa::tuner
