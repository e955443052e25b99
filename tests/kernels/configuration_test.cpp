#include "kernels/configuration.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace fcsa::kernels {
namespace {

const std::vector<Parameter> kParameters = {
    {"rows", {16, 32}, 16, ""}, {"keys", {8, 64}, 8, ""}, {"flag", {0, 1}, 0, ""}};

Configuration parse(const std::string& text) {
  return configuration_from_text(text, "toy.forward", kParameters);
}

TEST(Configuration, TextLeavesOutDefaultsAndKeepsTheFamilysOrder) {
  const Configuration c{"toy.forward", {{"rows", 32}, {"keys", 8}, {"flag", 1}}};
  EXPECT_EQ(to_text(c, kParameters), "toy.forward{rows=32,flag=1}");
  EXPECT_EQ(parse("toy.forward{flag=1,rows=32}"), c);
}

TEST(Configuration, WithoutParametersItIsTheDefault) {
  EXPECT_EQ(parse("toy.forward"), parse("toy.forward{}"));
  EXPECT_EQ(to_text(parse("toy.forward"), kParameters), "toy.forward{}");
}

TEST(Configuration, ValuesOutsideTheSpaceStayReadable) {
  EXPECT_EQ(parse("toy.forward{keys=100}").at("keys"), 100);
}

TEST(Configuration, IsListedWhereASearchMayTryEveryValue) {
  EXPECT_TRUE(listed(parse("toy.forward{rows=32,keys=64}"), kParameters));
  EXPECT_FALSE(listed(parse("toy.forward{keys=100}"), kParameters));
  EXPECT_FALSE(listed({"toy.forward", {{"rows", 16}, {"keys", 8}}}, kParameters));
  EXPECT_FALSE(listed({"toy.forward", {{"rows", 16}, {"flag", 0}, {"keys", 8}}}, kParameters));
}

TEST(Configuration, MalformedTextIsRefused) {
  for (const char* text :
       {"other.forward{}", "toy.forward{rows}", "toy.forward{rows=}", "toy.forward{rows=1x}",
        "toy.forward{rows=1,rows=2}", "toy.forward{height=3}", "toy.forward{rows=1", ""})
    EXPECT_THROW(parse(text), std::invalid_argument) << text;
}

TEST(Configuration, AskingForAnUnknownParameterNamesIt) {
  try {
    static_cast<void>(parse("toy.forward").at("height"));
    FAIL();
  } catch (const std::out_of_range& error) {
    EXPECT_NE(std::string(error.what()).find("height"), std::string::npos);
  }
}

TEST(Configuration, NamesItsKernelWithAndWithoutParameters) {
  EXPECT_EQ(kernel_of("simt.forward{warps=8}"), "simt.forward");
  EXPECT_EQ(kernel_of("simt.forward"), "simt.forward");
}

}  // namespace
}  // namespace fcsa::kernels
