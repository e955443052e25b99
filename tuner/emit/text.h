// Puts a header together from kernel sources and generated text, so that it can share a program, or a
// translation unit, with other headers made the same way.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fcsa::tuner {

// What is around the text.
struct HeaderFrame {
  std::string comment;               // opens the file; where the sections are is added to it
  std::string guard;                 // macro name
  std::string space;                 // qualified namespace
  std::string checks;                // preprocessor lines before the includes
  std::string begin = {}, end = {};  // preprocessor lines around everything behind the includes
};

class HeaderText {
 public:
  // C++ text for the inside of the namespace. Its `#include <...>` move to the top of the header, with the
  // conditions around them; the macros that it defines are hidden from whatever comes after the header.
  void add(std::string_view text);
  // A heading, which the opening comment lists with its line.
  void section(std::string_view title);
  // Text of tuner/emit/emitted/`name`.
  void add_fragment(const std::string& name);

  std::string str(const HeaderFrame& frame) const;

 private:
  std::string contents(std::size_t lines_before) const;
  void read_directive(const std::string& line);
  void hoist(const std::string& line);

  std::string body_;
  std::vector<std::pair<std::size_t, std::string>> sections_;  // line of the body, title
  std::set<std::string> includes_;
  std::vector<std::string> conditional_includes_;
  std::vector<std::string> conditions_;  // directives of the conditionals that are open, outermost first
  std::set<std::string> macros_;
};

// Longest line of what is generated.
inline constexpr std::size_t kLineWidth = 110;

// Each line prefixed with "// ", lines that are empty with "//".
std::string as_comment(std::string_view text);

}  // namespace fcsa::tuner
