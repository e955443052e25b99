#include "reports/svg.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "reports/plot.h"

namespace fcsa::reports {
namespace {

constexpr const char* kPlot = R"(<?xml version="1.0"?>
<svg width="460" height="300" viewBox="0 0 460 300" xmlns="http://www.w3.org/2000/svg">
<title>Gnuplot</title>
<defs><circle id='gpDot' r='0.5'/><filter id='textbox'><feFlood flood-color='#FFFFFF'/></filter></defs>
<g fill="none" stroke="currentColor">
</g>
<g fill="none"><use xlink:href='#gpDot' color='rgb(  5,   5,   5)'/><path stroke='rgb(200, 200, 200)' d='M0,0
	L1,1'/><text font-family="Arial">a &lt; b</text></g>
</svg>
)";

std::string embedded() {
  return embed_svg(kPlot, "p7-", {"Speed & <more>", "words"});
}

TEST(Svg, LosesItsPrologueAndFixedSize) {
  EXPECT_EQ(embedded().find("<svg"), 0U);
  EXPECT_EQ(embedded().find("<?xml"), std::string::npos);
  EXPECT_EQ(embedded().find("width=\"460\""), std::string::npos);
  EXPECT_NE(embedded().find("viewBox=\"0 0 460 300\""), std::string::npos);
}

TEST(Svg, GetsIdsOfItsOwn) {
  EXPECT_NE(embedded().find("id=\"p7-gpDot\""), std::string::npos);
  EXPECT_NE(embedded().find("href=\"#p7-gpDot\""), std::string::npos);
}

TEST(Svg, TakesItsColoursFromThePage) {
  EXPECT_NE(embedded().find("style=\"color:var(--tuned)\""), std::string::npos);
  EXPECT_NE(embedded().find("stroke=\"rgb(200, 200, 200)\""), std::string::npos) << "not a colour of ours";
}

TEST(Svg, LeavesTheFontToThePage) {
  EXPECT_EQ(embedded().find("font-family"), std::string::npos);
}

TEST(Svg, HasAnAccessibleNameInPlaceOfGnuplots) {
  EXPECT_EQ(embedded().find("Gnuplot"), std::string::npos);
  EXPECT_NE(embedded().find("<title id=\"p7-title\">Speed &amp; &lt;more&gt;</title>"), std::string::npos);
  EXPECT_NE(embedded().find("<desc id=\"p7-desc\">words</desc>"), std::string::npos);
}

TEST(Svg, DropsEmptyGroupsAndFilters) {
  EXPECT_EQ(embedded().find("></g>"), embedded().find("</text></g>") + 6);
  EXPECT_EQ(embedded().find("filter"), std::string::npos);
}

TEST(Svg, IsRefusedWhenItIsSomethingElse) {
  EXPECT_THROW(embed_svg("gnuplot: unknown terminal", "p-", {}), std::invalid_argument);
  EXPECT_THROW(embed_svg("<svg><g</svg>", "p-", {}), std::invalid_argument);
}

TEST(Plot, IsEmptyWithoutSamplesAndCrosses) {
  Plot plot;
  plot.curves.emplace_back();
  EXPECT_TRUE(plot.empty());
  plot.crosses.push_back({.label = "out of memory", .colour = Colour::unfused, .x = {1}});
  EXPECT_FALSE(plot.empty());
}

TEST(Plot, CannotBeBrokenByALabel) {
  Plot plot;
  plot.unit = "it's';system('true')";
  EXPECT_NE(gnuplot_script(plot, "out.svg").find("'it''s'';system(''true'')'"), std::string::npos);
}

}  // namespace
}  // namespace fcsa::reports
