#include "tuner/trials/store_json.h"

#include <utility>

namespace fcsa::tuner {

nlohmann::ordered_json session_json(const Session& session) {
  auto json = nlohmann::ordered_json::object(), device = nlohmann::ordered_json::object();
  visit_session(session, FieldWriter{json});
  visit_device(session.device, FieldWriter{device});
  json["device"] = std::move(device);
  return json;
}

}  // namespace fcsa::tuner
