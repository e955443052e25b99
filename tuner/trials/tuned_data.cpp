#include "tuner/trials/tuned_data.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <type_traits>

#include "tuner/trials/store_fields.h"
#include "tuner/trials/store_json.h"

namespace fcsa::tuner {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "fcsa tuned data";
constexpr int kVersion = 1;

// And back: what isn't there stays as it is.
struct FieldReader {
  const Json& object;

  template <typename T>
  void operator()(const char* name, T& value) {
    const auto found = object.find(name);
    if (found == object.end()) return;
    try {
      if constexpr (std::is_enum_v<T>) {
        value = enum_from_text<T>(found->template get<std::string>());
      } else {
        value = found->template get<T>();
      }
    } catch (const std::exception& error) {
      throw std::invalid_argument(fmt::format("\"{}\": {}", name, error.what()));
    }
  }
};

Json trial_json(const StoredTrial& stored, std::size_t session) {
  Json fields = Json::object(), defaults = Json::object();
  visit_trial(stored.trial, FieldWriter{fields});
  const Trial none;
  visit_trial(none, FieldWriter{defaults});
  Json json{{"session", session},
            {"problem", kernels::to_text(stored.trial.problem)},
            {"configuration", stored.trial.configuration}};
  for (const auto& [name, value] : fields.items())
    if (value != defaults[name]) json[name] = value;
  return json;
}

template <typename T>
T member(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) throw std::invalid_argument(fmt::format("there is no \"{}\"", name));
  try {
    return found->get<T>();
  } catch (const Json::exception& error) {
    throw std::invalid_argument(fmt::format("\"{}\": {}", name, error.what()));
  }
}

Session session_of(const Json& json) {
  Session session;
  visit_session(session, FieldReader{json});
  const auto device = member<Json>(json, "device");
  visit_device(session.device, FieldReader{device});
  return session;
}

StoredTrial trial_of(const Json& json, const std::vector<Session>& sessions) {
  StoredTrial stored;
  const auto session = member<std::size_t>(json, "session");
  if (session >= sessions.size()) throw std::invalid_argument(fmt::format("there is no session {}", session));
  stored.session = sessions[session];
  stored.trial.problem = kernels::problem_from_text(member<std::string>(json, "problem"));
  stored.trial.configuration = member<std::string>(json, "configuration");
  visit_trial(stored.trial, FieldReader{json});
  check_plausible(stored.trial);
  return stored;
}

// Each of a list, with its place in the message when it can't be understood.
template <typename Read>
void for_each_of(const Json& document, const char* list, const Read& read) {
  const auto entries = member<std::vector<Json>>(document, list);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    try {
      read(entries[i]);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(fmt::format("{}[{}]: {}", list, i, error.what()));
    }
  }
}

std::string lines_of(const std::vector<Json>& objects) {
  std::string text;
  for (const auto& object : objects)
    text += (text.empty() ? "" : ",\n") + object.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text;
}

}  // namespace

std::string to_tuned_data(const std::vector<StoredTrial>& trials) {
  std::map<std::string, std::size_t> places;
  std::vector<Json> session_lines, trial_lines;
  for (const auto& stored : trials) {
    const auto [place, added] = places.try_emplace(stored.session.id, places.size());
    if (added) session_lines.push_back(session_json(stored.session));
    trial_lines.push_back(trial_json(stored, place->second));
  }
  return fmt::format(
      "{{\"format\": \"{}\", \"version\": {},\n\"sessions\": [\n{}\n],\n\"trials\": [\n{}\n]}}\n", kFormat,
      kVersion, lines_of(session_lines), lines_of(trial_lines));
}

std::vector<StoredTrial> trials_of_tuned_data(std::string_view text) {
  const Json document = Json::parse(text, nullptr, false);
  if (!document.is_object() || document.value("format", "") != kFormat)
    throw std::invalid_argument(fmt::format("it is not a JSON object whose \"format\" is \"{}\"", kFormat));
  if (const int version = member<int>(document, "version"); version != kVersion)
    throw std::invalid_argument(
        fmt::format("its version is {}, this fcsa reads {}: upgrade fcsa", version, kVersion));
  std::vector<Session> sessions;
  std::vector<StoredTrial> trials;
  for_each_of(document, "sessions", [&](const Json& json) { sessions.push_back(session_of(json)); });
  for_each_of(document, "trials", [&](const Json& json) {
    trials.push_back(trial_of(json, sessions));
    trials.back().id = static_cast<std::int64_t>(trials.size());
  });
  return trials;
}

}  // namespace fcsa::tuner
