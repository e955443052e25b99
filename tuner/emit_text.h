// Puts a header together from kernel sources and generated text, so that it can share a program, or a
// translation unit, with other headers made the same way.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fcsa::tuner {

class HeaderText {
 public:
  // C++ text for the inside of the namespace. Its `#include <...>` move to the top of the header, with the
  // conditions around them; the macros that it defines are hidden from whatever comes after the header.
  void add(std::string_view text);
  // A heading that a reader can search for.
  void section(std::string_view title);
  // Text of tuner/emitted/`name`.
  void add_fragment(const std::string& name);

  // `comment` opens the file; `guard` is a macro name; `space` is a qualified namespace; `checks` are
  // preprocessor lines between the includes and the namespace.
  std::string str(const std::string& comment, const std::string& guard, const std::string& space,
                  const std::string& checks) const;

 private:
  void read_directive(const std::string& line);
  void hoist(const std::string& line);

  std::string body_;
  std::set<std::string> includes_;
  std::vector<std::string> conditional_includes_;
  std::vector<std::string> conditions_;  // directives of the conditionals that are open, outermost first
  std::set<std::string> macros_;
};

// Each line prefixed with "// ", lines that are empty with "//".
std::string as_comment(std::string_view text);

}  // namespace fcsa::tuner
