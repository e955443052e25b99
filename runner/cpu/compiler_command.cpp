#include "runner/cpu/compiler_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <system_error>

namespace fcsa::runner::cpu {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kBlanks = " \t\n";

bool is_program(const fs::path& path) {
  std::error_code ignored;
  return ::access(path.c_str(), X_OK) == 0 && fs::is_regular_file(path, ignored);
}

std::optional<std::string> absolute_program(const std::string& name) {
  if (name.empty()) return std::nullopt;
  if (name.find('/') != std::string::npos)
    return is_program(name) ? std::optional(fs::absolute(name).string()) : std::nullopt;
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path candidate = fs::path(folder.empty() ? "." : folder) / name;
    if (is_program(candidate)) return fs::absolute(candidate).string();
  }
  return std::nullopt;
}

// Split at blanks, where a part in quotes counts as one and a backslash takes the next character as it is.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool inside = false;
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      word += text[++i];
      inside = true;
    } else if (quote != 0 ? c == quote : c == '"' || c == '\'') {
      quote = quote != 0 ? '\0' : c;
      inside = true;
    } else if (quote == 0 && kBlanks.find(c) != std::string_view::npos) {
      if (inside) words.push_back(word);
      word.clear();
      inside = false;
    } else {
      word += c;
      inside = true;
    }
  }
  if (inside) words.push_back(word);
  return words;
}

// The longest beginning that ends at a blank and is the path of a program: paths may have blanks in them.
std::vector<std::string> command_with_bare_path(const std::string& text) {
  for (std::size_t end = text.size(); end != std::string::npos && end > 0;
       end = text.find_last_of(kBlanks, end - 1)) {
    const std::string beginning = text.substr(0, end);
    if (beginning.find('/') == std::string::npos || !is_program(beginning)) continue;
    std::vector<std::string> command{fs::absolute(beginning).string()};
    for (auto& word : words_of(std::string_view(text).substr(end))) command.push_back(std::move(word));
    return command;
  }
  return {};
}

}  // namespace

std::vector<std::string> command_from(const std::string& text) {
  const auto begin = text.find_first_not_of(kBlanks);
  if (begin == std::string::npos) return {};
  if (auto command = command_with_bare_path(text.substr(begin)); !command.empty()) return command;
  std::vector<std::string> command = words_of(text);
  const auto program = absolute_program(command.empty() ? "" : command.front());
  if (!program) return {};
  command.front() = *program;
  return command;
}

std::vector<std::string> find_compiler() {
  if (const char* chosen = std::getenv("FCSA_CXX"); chosen != nullptr && *chosen != '\0') {
    auto command = command_from(chosen);
    if (command.empty())
      throw std::runtime_error(fmt::format("no C++ compiler: FCSA_CXX is '{}', which is not a program: {}",
                                           chosen, kHowToGetACompiler));
    return command;
  }
  const char* usual = std::getenv("CXX");
  for (const std::string name : {usual != nullptr ? usual : "", "c++", "g++", "clang++"}) {
    if (auto command = command_from(name); !command.empty()) return command;
  }
  throw std::runtime_error(fmt::format(
      "no C++ compiler: looked for $FCSA_CXX, $CXX, c++, g++ and clang++ in PATH: {}", kHowToGetACompiler));
}

}  // namespace fcsa::runner::cpu
