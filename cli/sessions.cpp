#include "cli/sessions.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <fstream>
#include <iterator>
#include <random>

namespace fcsa::cli {

tuner::Session new_session(const kernels::DeviceInfo& device, const std::string& command,
                           std::uint64_t seed) {
  std::random_device random;
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  tuner::Session session;
  session.id = fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
  session.started_at = fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr)));
  session.command = command;
  session.host = host.data();
  session.fcsa_version = FCSA_VERSION;
  session.seed = seed;
  session.device = device;
  return session;
}

std::string command_line() {
  std::ifstream stream("/proc/self/cmdline", std::ios::binary);
  const std::string raw{std::istreambuf_iterator<char>(stream), {}};
  std::string text;
  for (std::size_t begin = 0; begin < raw.size();) {
    const auto end = std::min(raw.find('\0', begin), raw.size());
    const std::string word = raw.substr(begin, end - begin);
    const bool plain = word.find_first_of(" \t\"'\\$*?;&|<>(){}") == std::string::npos && !word.empty();
    text += (text.empty() ? "" : " ") + (plain ? word : "'" + word + "'");
    begin = end + 1;
  }
  return text;
}

}  // namespace fcsa::cli
