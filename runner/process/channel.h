// Messages between the processes: JSON values in the CBOR encoding (so NaN, infinity and stray bytes
// survive), one per frame.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "runner/process/file_descriptor.h"
#include "runner/process/frame.h"

namespace fcsa::runner {

std::string encode(const nlohmann::json& message);
nlohmann::json decode(std::string_view payload);  // throws ProtocolError

// Replies are an object with one member that names what it is: {"result": ...}, {"error": "what was wrong"}.
// The member as a T. Throws ProtocolError naming the member when it is absent or of another shape.
template <typename T>
T member(const nlohmann::json& message, const char* name) {
  try {
    return message.at(name).get<T>();
  } catch (const std::exception& error) {
    throw ProtocolError(std::string("a message has no usable member \"") + name + "\": " + error.what());
  }
}

// The child's end of the channel; blocking.
class Channel {
 public:
  // Takes over the descriptor. Throws std::system_error when it isn't open.
  explicit Channel(int fd);

  std::optional<nlohmann::json> receive();   // nothing when the parent closed its end
  void send(const nlohmann::json& message);  // throws std::system_error when the parent is gone

 private:
  FileDescriptor socket_;
  FrameReader reader_;
};

}  // namespace fcsa::runner
