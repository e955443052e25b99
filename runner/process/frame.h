// How messages are cut out of a byte stream: "fcsa", the length in four bytes (little endian), the payload.
#pragma once

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace fcsa::runner {

// What was read is not what a peer of this version sends.
class ProtocolError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline constexpr std::size_t kMaxFrameBytes = std::size_t{64} << 20;

// Throws ProtocolError above kMaxFrameBytes.
std::string frame_header(std::string_view payload);

class FrameReader {
 public:
  void append(std::string_view bytes);
  // The next whole payload; nothing while one is incomplete. Throws ProtocolError when the stream is not made
  // of frames or a frame is larger than kMaxFrameBytes.
  std::optional<std::string> next();
  bool empty() const { return buffer_.empty(); }  // false: a frame has begun and is not complete

 private:
  std::string buffer_;
};

}  // namespace fcsa::runner
