// Fields of what is stored, as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <type_traits>

#include "tuner/trials/store_fields.h"

namespace fcsa::tuner {

// visit() of store_fields.h into a JSON object; seeds stay exact.
struct FieldWriter {
  nlohmann::ordered_json& object;

  template <typename T>
  void operator()(const char* name, const T& value) {
    if constexpr (std::is_enum_v<T>) {
      object[name] = enum_text(value);
    } else {
      object[name] = value;
    }
  }
};

// Its device is a member of its own, "device".
nlohmann::ordered_json session_json(const Session& session);

}  // namespace fcsa::tuner
