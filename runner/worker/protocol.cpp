#include "runner/worker/protocol.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <iterator>
#include <system_error>

using nlohmann::json;

namespace fcsa::kernels {

void to_json(json& json, const Problem& problem) {
  json = to_text(problem);
}

void from_json(const json& json, Problem& problem) {
  problem = problem_from_text(json.get_ref<const std::string&>());
}

void to_json(json& json, DeviceKind kind) {
  json = std::string(to_text(kind));
}

void from_json(const json& json, DeviceKind& kind) {
  const auto& text = json.get_ref<const std::string&>();
  if (text != "cpu" && text != "cuda") throw std::invalid_argument("unknown kind of device '" + text + "'");
  kind = text == "cuda" ? DeviceKind::cuda : DeviceKind::cpu;
}

void to_json(json& json, const LaunchPlan& plan) {
  json["steps"] = std::vector<Launch>(plan.steps, plan.steps + plan.count);
  json["maps"] = std::vector<TensorMap>(plan.maps, plan.maps + plan.map_count);
  json["workspace_bytes"] = plan.workspace_bytes;
}

void from_json(const json& json, LaunchPlan& plan) {
  const auto steps = json.at("steps").get<std::vector<Launch>>();
  if (steps.size() > std::size(plan.steps)) throw std::out_of_range("a launch plan has too many steps");
  plan = LaunchPlan{};
  plan.count = static_cast<int>(steps.size());
  std::copy(steps.begin(), steps.end(), plan.steps);
  const auto maps = json.at("maps").get<std::vector<TensorMap>>();
  if (maps.size() > std::size(plan.maps)) throw std::out_of_range("a launch plan has too many tensor maps");
  plan.map_count = static_cast<int>(maps.size());
  std::copy(maps.begin(), maps.end(), plan.maps);
  plan.workspace_bytes = json.at("workspace_bytes").get<long long>();
}

}  // namespace fcsa::kernels

namespace fcsa::tuner {

void to_json(json& json, Status status) {
  json = std::string(to_text(status));
}
void from_json(const json& json, Status& status) {
  status = status_from_text(json.get_ref<const std::string&>());
}
void to_json(json& json, CacheState state) {
  json = std::string(to_text(state));
}
void from_json(const json& json, CacheState& state) {
  state = cache_state_from_text(json.get_ref<const std::string&>());
}

}  // namespace fcsa::tuner

namespace fcsa::runner {

namespace {

template <typename Kind, std::size_t Count>
Kind kind_of(const json& json, const Kind (&all)[Count], const char* what) {
  const int number = json.get<int>();
  if (number < 0 || number >= static_cast<int>(Count))
    throw std::out_of_range(fmt::format("unknown {} {}", what, number));
  return all[number];
}

}  // namespace

void to_json(json& json, Values values) {
  json = static_cast<int>(values);
}
void from_json(const json& json, Values& values) {
  values = kind_of(json, kAllValues, "kind of values");
}
void to_json(json& json, Placement placement) {
  json = static_cast<int>(placement);
}
void from_json(const json& json, Placement& placement) {
  placement = kind_of(json, kAllPlacements, "placement");
}

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
