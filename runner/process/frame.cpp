#include "runner/process/frame.h"

#include <fmt/format.h>

#include <cstdint>

namespace fcsa::runner {
namespace {

constexpr std::string_view kMagic = "fcsa";
constexpr std::size_t kHeaderBytes = 8;

}  // namespace

std::string frame_header(std::string_view payload) {
  if (payload.size() > kMaxFrameBytes)
    throw ProtocolError(
        fmt::format("a message of {} bytes is above the limit of {}", payload.size(), kMaxFrameBytes));
  std::string header(kMagic);
  for (int shift = 0; shift < 32; shift += 8) header += static_cast<char>((payload.size() >> shift) & 0xff);
  return header;
}

void FrameReader::append(std::string_view bytes) {
  buffer_ += bytes;
}

std::optional<std::string> FrameReader::next() {
  const std::size_t known = std::min(buffer_.size(), kMagic.size());
  if (buffer_.compare(0, known, kMagic, 0, known) != 0)
    throw ProtocolError("a message does not begin with \"fcsa\"");
  if (buffer_.size() < kHeaderBytes) return std::nullopt;
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < 4; ++i)
    length |= static_cast<std::uint32_t>(static_cast<unsigned char>(buffer_[4 + i])) << (8 * i);
  if (length > kMaxFrameBytes)
    throw ProtocolError(fmt::format("a message announces {} bytes, the limit is {}", length, kMaxFrameBytes));
  if (buffer_.size() < kHeaderBytes + length) return std::nullopt;
  std::string payload = buffer_.substr(kHeaderBytes, length);
  buffer_.erase(0, kHeaderBytes + length);
  return payload;
}

}  // namespace fcsa::runner
