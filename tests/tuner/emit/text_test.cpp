#include "tuner/emit/text.h"

#include <gtest/gtest.h>

namespace fcsa::tuner {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(HeaderText, MovesSystemIncludesToTheTopWithTheirConditions) {
  HeaderText text;
  text.add(
      "#include <cmath>\n#if A\n#include <x.h>\n#else\n#  include <y.h>\nint b;\n#endif\n#include <cmath>\n");
  const std::string header =
      text.str({.comment = "// comment\n", .guard = "GUARD", .space = "a::b", .checks = ""});
  const std::string top = header.substr(0, header.find("namespace a::b {"));
  const std::string inside = header.substr(top.size());
  EXPECT_TRUE(contains(top, "#include <cmath>\n"));
  EXPECT_TRUE(contains(top, "#if A\n#include <x.h>\n#endif\n"));
  EXPECT_TRUE(contains(top, "#if A\n#else\n#  include <y.h>\n#endif\n"));
  EXPECT_FALSE(contains(inside, "include <"));
  EXPECT_TRUE(contains(inside, "int b;"));
}

TEST(HeaderText, RestoresEveryMacroThatItDefines) {
  HeaderText text;
  text.add("#define FCSA_ONE 1\n# define FCSA_TWO(x) x\n");
  const std::string header = text.str({.comment = "", .guard = "GUARD", .space = "a", .checks = ""});
  for (const char* macro : {"FCSA_ONE", "FCSA_TWO"}) {
    const std::string name = macro;
    EXPECT_LT(header.find("#pragma push_macro(\"" + name + "\")"), header.find("namespace a {"));
    EXPECT_GT(header.find("#undef " + name + "\n#pragma pop_macro(\"" + name + "\")"),
              header.find("}  // namespace a"));
  }
}

}  // namespace
}  // namespace fcsa::tuner
