#include "tuner/emit/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>

#include "kernels/embedded.h"

namespace fcsa::tuner {

// Written by the build from tuner/emit/emitted/.
const std::vector<kernels::EmbeddedFile>& emitted_fragments();

namespace {

// The name and the rest of a preprocessor line: "#  define X 1" gives "define" and "X 1". Empty for other
// lines.
std::pair<std::string, std::string> directive_of(const std::string& line) {
  const auto hash = line.find_first_not_of(" \t");
  if (hash == std::string::npos || line[hash] != '#') return {};
  std::istringstream words(line.substr(hash + 1));
  std::string name, rest;
  words >> name;
  std::getline(words >> std::ws, rest);
  return {name, rest};
}

std::size_t count_lines(std::string_view text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

bool is_system_include(const std::string& line) {
  const auto [name, rest] = directive_of(line);
  return name == "include" && rest.starts_with('<');
}

}  // namespace

void HeaderText::add(std::string_view text) {
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    if (is_system_include(line)) {
      hoist(line);
    } else {
      read_directive(line);
      body_ += line + "\n";
    }
  }
}

void HeaderText::section(std::string_view title) {
  body_ += '\n';
  sections_.emplace_back(count_lines(body_) + 1, title);
  body_ += fmt::format("// ---- {} ----\n\n", title);
}

void HeaderText::add_fragment(const std::string& name) {
  for (const auto& file : emitted_fragments())
    if (file.path == "tuner/emit/emitted/" + name) return add(file.text);
  throw std::out_of_range(fmt::format("'{}' is not among the texts in tuner/emit/emitted", name));
}

void HeaderText::hoist(const std::string& line) {
  if (conditions_.empty()) {
    includes_.insert(line);
    return;
  }
  std::string block;
  for (const auto& condition : conditions_) block += condition;
  block += line + "\n";
  for (std::size_t i = 0; i < conditions_.size(); ++i) block += "#endif\n";
  if (std::find(conditional_includes_.begin(), conditional_includes_.end(), block) ==
      conditional_includes_.end())
    conditional_includes_.push_back(block);
}

void HeaderText::read_directive(const std::string& line) {
  const auto [name, rest] = directive_of(line);
  if (name == "if" || name == "ifdef" || name == "ifndef") {
    conditions_.push_back(line + "\n");
  } else if ((name == "elif" || name == "else") && !conditions_.empty()) {
    conditions_.back() += line + "\n";
  } else if (name == "endif" && !conditions_.empty()) {
    conditions_.pop_back();
  } else if (name == "define") {
    macros_.insert(rest.substr(0, rest.find_first_of(" \t(")));
  }
}

std::string HeaderText::contents(std::size_t lines_before) const {
  std::string text = "Contents, by line:\n";
  for (const auto& [line, title] : sections_)
    text += fmt::format("  {:>6}  {}\n", lines_before + line, title);
  return as_comment(text);
}

std::string HeaderText::str(const HeaderFrame& frame) const {
  std::string opening = fmt::format("\n#ifndef {0}\n#define {0}\n\n{1}\n", frame.guard, frame.checks);
  for (const auto& line : includes_) opening += line + "\n";
  for (const auto& block : conditional_includes_) opening += block;
  opening += "\n" + frame.begin;
  for (const auto& macro : macros_)
    opening += fmt::format("#pragma push_macro(\"{0}\")\n#undef {0}\n", macro);
  // nvcc takes the branch of an `if constexpr` that isn't taken for a use of a variable before it is set.
  opening += "#if defined(__CUDACC__)\n#pragma nv_diagnostic push\n#pragma nv_diag_suppress 549\n#endif\n";
  opening += fmt::format("\nnamespace {} {{\n", frame.space);
  std::string closing = fmt::format("\n}}  // namespace {}\n\n", frame.space);
  for (const auto& macro : macros_) closing += fmt::format("#undef {0}\n#pragma pop_macro(\"{0}\")\n", macro);
  closing += "#if defined(__CUDACC__)\n#pragma nv_diagnostic pop\n#endif\n";
  closing += frame.end + fmt::format("\n#endif  // {}\n", frame.guard);
  const std::size_t lines_before = count_lines(frame.comment + contents(0) + opening);
  return frame.comment + contents(lines_before) + opening + body_ + closing;
}

std::string as_comment(std::string_view text) {
  std::istringstream lines{std::string(text)};
  std::string comment;
  for (std::string line; std::getline(lines, line);) comment += line.empty() ? "//\n" : "// " + line + "\n";
  return comment;
}

}  // namespace fcsa::tuner
