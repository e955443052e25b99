#include "runner/cpu/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runner/cpu/host.h"

namespace fcsa::runner::cpu {
namespace {

constexpr std::size_t kPageBytes = HostBuffer::kPageBytes;
// Address space without memory: whoever runs past the end of a tensor may do so by a row or a tile.
constexpr std::size_t kFenceBytes = std::size_t{1} << 20;
// Left for thread stacks, scratch and other processes.
constexpr std::size_t kReserveBytes = std::size_t{128} << 20;

constexpr std::size_t round_up(std::size_t bytes) {
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

// One write per page: what MAP_POPULATE does not promise, since it fails silently.
void touch(unsigned char* data, std::size_t bytes) {
  for (std::size_t offset = 0; offset < bytes; offset += kPageBytes) {
    static_cast<volatile unsigned char*>(data)[offset] = 0;
  }
}

}  // namespace

HostBuffer::HostBuffer(std::size_t bytes)
    : bytes_(bytes), mapped_bytes_(round_up(std::max<std::size_t>(bytes, 1))) {
  const std::size_t available = Host().available_memory_bytes();
  const std::size_t usable = available - std::min(available, kReserveBytes);
  if (mapped_bytes_ < bytes || mapped_bytes_ > usable) {
    throw OutOfMemory(
        fmt::format("out of memory: asked for {} bytes, {} are available ({} of them kept in reserve)", bytes,
                    available, std::min(available, kReserveBytes)),
        mapped_bytes_ - std::min(mapped_bytes_, usable));
  }
  void* data = mmap(nullptr, mapped_bytes_ + kFenceBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    throw OutOfMemory(fmt::format("out of memory: mmap of {} bytes: {}", bytes, std::strerror(errno)));
  }
  if (mprotect(data, mapped_bytes_, PROT_READ | PROT_WRITE) != 0) {
    const int reason = errno;
    munmap(data, mapped_bytes_ + kFenceBytes);
    throw OutOfMemory(fmt::format("out of memory: mprotect of {} bytes: {}", bytes, std::strerror(reason)));
  }
  data_ = data;
  touch(static_cast<unsigned char*>(data_), mapped_bytes_);
}

HostBuffer::~HostBuffer() {
  munmap(data_, mapped_bytes_ + kFenceBytes);
}

}  // namespace fcsa::runner::cpu
