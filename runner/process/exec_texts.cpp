#include "runner/process/exec_texts.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>

namespace fcsa::runner {

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (auto& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> environment_with(const std::vector<std::string>& added) {
  std::vector<std::string> environment = added;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view own = *variable;
    const auto replaces = [&](std::string_view other) {
      return own.starts_with(other.substr(0, other.find('=') + 1));
    };
    if (std::none_of(added.begin(), added.end(), replaces)) environment.emplace_back(own);
  }
  return environment;
}

}  // namespace fcsa::runner
