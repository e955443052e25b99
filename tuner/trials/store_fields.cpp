#include "tuner/trials/store_fields.h"

#include <array>
#include <cmath>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace fcsa::tuner {
namespace {

// Kinds of device have no parser of their own.
constexpr std::array kDeviceKinds{kernels::DeviceKind::cpu, kernels::DeviceKind::cuda};

template <typename Values>
auto value_with_text(const Values& values, std::string_view text, const char* what) {
  for (const auto value : values) {
    if (enum_text(value) == text) return value;
  }
  throw std::invalid_argument(fmt::format("unknown {} '{}'", what, text));
}

}  // namespace

std::string_view enum_text(kernels::DeviceKind value) {
  return kernels::to_text(value);
}
std::string_view enum_text(kernels::Op value) {
  return kernels::to_text(value);
}
std::string_view enum_text(kernels::DType value) {
  return kernels::to_text(value);
}
std::string_view enum_text(kernels::Layout value) {
  return kernels::to_text(value);
}
std::string_view enum_text(kernels::Bias value) {
  return kernels::to_text(value);
}
std::string_view enum_text(Status value) {
  return to_text(value);
}
std::string_view enum_text(Phase value) {
  return to_text(value);
}
std::string_view enum_text(CacheState value) {
  return to_text(value);
}

template <>
kernels::DeviceKind enum_from_text(std::string_view text) {
  return value_with_text(kDeviceKinds, text, "device kind");
}
template <>
kernels::Op enum_from_text(std::string_view text) {
  return kernels::op_from_text(text);
}
template <>
kernels::DType enum_from_text(std::string_view text) {
  return kernels::dtype_from_text(text);
}
template <>
kernels::Layout enum_from_text(std::string_view text) {
  return kernels::layout_from_text(text);
}
template <>
kernels::Bias enum_from_text(std::string_view text) {
  return kernels::bias_from_text(text);
}
template <>
Status enum_from_text(std::string_view text) {
  return status_from_text(text);
}
template <>
Phase enum_from_text(std::string_view text) {
  return phase_from_text(text);
}
template <>
CacheState enum_from_text(std::string_view text) {
  return cache_state_from_text(text);
}

std::string field_text(const std::string& value) {
  return value;
}
std::string field_text(bool value) {
  return value ? "1" : "0";
}
std::string field_text(int value) {
  return std::to_string(value);
}
std::string field_text(std::size_t value) {
  return std::to_string(value);
}
std::string field_text(float value) {
  return fmt::format("{}", value);
}
std::string field_text(double value) {
  return std::isnan(value) ? "nan" : fmt::format("{}", value);
}
std::string field_text(const kernels::OptionalFloat& value) {
  return value ? field_text(*value) : "";
}
std::string field_text(const std::vector<double>& values) {
  return fmt::format("{}", fmt::join(values, " "));
}

}  // namespace fcsa::tuner
