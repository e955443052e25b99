#include "runner/process/channel.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <system_error>

using nlohmann::json;

namespace fcsa::runner {

std::string encode(const json& message) {
  std::string payload;
  json::to_cbor(message, payload);
  return payload;
}

json decode(std::string_view payload) {
  try {
    return json::from_cbor(payload);
  } catch (const json::exception& error) {
    throw ProtocolError(fmt::format("a message can't be read: {}", error.what()));
  }
}

Channel::Channel(int fd) : socket_(fd) {
  // So that a compiler started by this process doesn't keep the channel open.
  if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
    throw std::system_error(errno, std::generic_category(), "no channel to the parent process");
}

std::optional<json> Channel::receive() {
  for (;;) {
    if (auto payload = reader_.next()) return decode(*payload);
    std::array<char, 65536> chunk;
    const ssize_t got = ::recv(socket_.get(), chunk.data(), chunk.size(), 0);
    if (got > 0) {
      reader_.append({chunk.data(), static_cast<std::size_t>(got)});
    } else if (got == 0 || errno == ECONNRESET) {
      return std::nullopt;
    } else if (errno != EINTR) {
      throw std::system_error(errno, std::generic_category(), "cannot read from the parent process");
    }
  }
}

void Channel::send(const json& message) {
  const std::string payload = encode(message);
  const std::string bytes = frame_header(payload) + payload;
  std::string_view left = bytes;
  while (!left.empty()) {
    const ssize_t sent = ::send(socket_.get(), left.data(), left.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      left.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno != EINTR) {
      throw std::system_error(errno, std::generic_category(), "cannot write to the parent process");
    }
  }
}

}  // namespace fcsa::runner
