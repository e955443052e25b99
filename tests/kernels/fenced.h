// Memory with a page behind it that may not be touched.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <system_error>

namespace fcsa::kernels {

// Memory that ends where nothing may be read.
class Fenced {
 public:
  explicit Fenced(std::size_t bytes) : size_((bytes + kPage - 1) / kPage * kPage + kPage), bytes_(bytes) {
    pages_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages_ == MAP_FAILED || mprotect(fence(), kPage, PROT_NONE) != 0)
      throw std::system_error(errno, std::generic_category(), "fenced memory");
  }
  Fenced(const void* content, std::size_t bytes) : Fenced(bytes) {
    std::memcpy(fence() - bytes_, content, bytes);
  }
  ~Fenced() { munmap(pages_, size_); }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;
  const void* data() const { return fence() - bytes_; }

 private:
  static constexpr std::size_t kPage = 65536;
  char* fence() const { return static_cast<char*>(pages_) + size_ - kPage; }
  void* pages_ = nullptr;
  std::size_t size_ = 0, bytes_ = 0;
};

}  // namespace fcsa::kernels
