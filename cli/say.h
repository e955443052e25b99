// Lines for people, on standard error.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <utility>

namespace fcsa::cli {

// An error of writing it is no error of the program: the terminal of a run of many hours may be gone.
template <typename... T>
void say_to(std::FILE* stream, fmt::format_string<T...> text, T&&... arguments) {
  static_cast<void>(std::fputs(fmt::format(text, std::forward<T>(arguments)...).c_str(), stream));
}
template <typename... T>
void say(fmt::format_string<T...> text, T&&... arguments) {
  say_to(stderr, text, std::forward<T>(arguments)...);
}

}  // namespace fcsa::cli
