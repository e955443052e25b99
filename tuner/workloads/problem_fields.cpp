#include "tuner/workloads/problem_fields.h"

#include <fmt/format.h>

#include <limits>
#include <stdexcept>
#include <type_traits>

namespace fcsa::tuner {
namespace {

using Json = nlohmann::ordered_json;
using kernels::Field;

[[noreturn]] void wrong(const char* field, const Json& value, const char* allowed) {
  throw std::invalid_argument(fmt::format("{} is {}: it must be {}", field, value.dump(), allowed));
}

struct Writer {
  Json& object;

  template <typename T>
  void operator()(const Field<T>& field, const T& value) const {
    if constexpr (std::is_enum_v<T>)
      object[field.name] = std::string(kernels::to_text(value));
    else if constexpr (std::is_same_v<T, kernels::OptionalFloat>)
      object[field.name] = value ? number(*value) : Json(nullptr);
    else if constexpr (std::is_same_v<T, float>)
      object[field.name] = number(value);
    else
      object[field.name] = value;
  }

 private:
  // The shortest text of the float, which as a double would have digits that nobody wrote.
  static Json number(float value) { return Json::parse(fmt::format("{}", value)); }
};

struct Reader {
  const Json& object;

  template <typename T>
  void operator()(const Field<T>& field, T& value) const {
    if (const auto found = object.find(field.name); found != object.end()) read(field.name, *found, value);
  }

 private:
  template <typename T>
  static void read(const char* name, const Json& json, T& value) {
    if constexpr (std::is_enum_v<T>) {
      if (!json.is_string()) wrong(name, json, "a word");
      try {
        value = enumerator<T>(json.get<std::string>());
      } catch (const std::invalid_argument& error) {
        throw std::invalid_argument(fmt::format("{}: {}", name, error.what()));
      }
    } else if constexpr (std::is_same_v<T, bool>) {
      if (!json.is_boolean()) wrong(name, json, "true or false");
      value = json.get<bool>();
    } else if constexpr (std::is_same_v<T, int>) {
      if (!json.is_number_integer() || json.get<double>() > std::numeric_limits<int>::max() ||
          json.get<double>() < std::numeric_limits<int>::min())
        wrong(name, json, "a whole number of 32 bits");
      value = json.get<int>();
    } else {
      if (std::is_same_v<T, kernels::OptionalFloat> && json.is_null()) return;
      if (!json.is_number()) wrong(name, json, "a number");
      value = json.get<float>();
    }
  }

  template <typename T>
  static T enumerator(const std::string& text) {
    if constexpr (std::is_same_v<T, kernels::Op>) return kernels::op_from_text(text);
    if constexpr (std::is_same_v<T, kernels::DType>) return kernels::dtype_from_text(text);
    if constexpr (std::is_same_v<T, kernels::Layout>) return kernels::layout_from_text(text);
    if constexpr (std::is_same_v<T, kernels::Bias>) return kernels::bias_from_text(text);
  }
};

}  // namespace

Json problem_fields(const kernels::Problem& problem) {
  Json object = Json::object();
  kernels::visit_problem(Writer{object}, problem);
  return object;
}

kernels::Problem problem_from_fields(const Json& object) {
  kernels::Problem problem;
  kernels::visit_problem(Reader{object}, problem);
  if (!object.contains("kv_heads")) problem.kv_heads = problem.heads;
  kernels::validate(problem);
  return problem;
}

const std::vector<std::string>& problem_field_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    const kernels::Problem problem;
    kernels::visit_problem([&](const auto& field, const auto&) { list.emplace_back(field.name); }, problem);
    return list;
  }();
  return names;
}

}  // namespace fcsa::tuner
