#include "reports/plot.h"

#include <gtest/gtest.h>

#include "reports/axes.h"
#include "reports/legend.h"

namespace fcsa::reports {
namespace {

bool contains(const std::string& text, const std::string& what) {
  return text.find(what) != text.npos;
}

Curve curve(const std::string& label) {
  return {.label = label, .samples = {{1, 2, 2, 2}, {2, 3, 3, 3}}};
}

TEST(Plot, ASignOfPerCentInATickIsNoFormat) {
  Plot plot;
  plot.y.ticks = {{0.5, "50%"}};
  EXPECT_TRUE(contains(gnuplot_script(plot, "out.svg"), "'50%%' 0.5"));
}

TEST(Plot, LabelsStayInsideTheRightEdge) {
  Plot plot;
  plot.x = {.logarithmic = true, .low = 1, .high = 100, .ticks = {}};
  plot.labels = {{.x = 10, .y = 1, .text = "middle"}, {.x = 100, .y = 1, .text = "end"}};
  const std::string script = gnuplot_script(plot, "out.svg");
  EXPECT_TRUE(contains(script, "set label 'middle' at 10,1 center"));
  EXPECT_TRUE(contains(script, "set label 'end' at 100,1 right"));
}

TEST(Legend, NamesWhatIsOnTopFirst) {
  Plot plot;
  plot.curves = {curve("below"), curve("a <b>")};
  const std::string html = legend_html(plot);
  EXPECT_LT(html.find("a &lt;b&gt;"), html.find("below"));
  EXPECT_TRUE(contains(html, "var(--ink)"));
}

TEST(Legend, OfOneCurveIsTheTitle) {
  Plot plot;
  plot.curves = {curve("one"), curve(""), {.label = "without samples", .samples = {}}};
  EXPECT_EQ(legend_html(plot), "");
}

std::vector<std::string> labels(const Axis& axis) {
  std::vector<std::string> result;
  for (const Tick& tick : axis.ticks) result.push_back(tick.label);
  return result;
}

TEST(Axes, RatiosAreShownAroundOne) {
  const Axis axis = ratio_axis({1.02, 1.08}, false);
  EXPECT_LT(axis.low, 1.0);
  EXPECT_GT(axis.low, 0.9);
  EXPECT_GT(axis.high, 1.08);
  EXPECT_EQ(labels(axis), (std::vector<std::string>{"0.95x", "1.00x", "1.05x", "1.10x"}));
}

TEST(Axes, SharesBeginAtARoundNumberBelowTheSmallest) {
  const Axis axis = share_axis({0.83, 1.0});
  EXPECT_DOUBLE_EQ(axis.low, 0.8);
  EXPECT_EQ(labels(axis), (std::vector<std::string>{"80%", "85%", "90%", "95%", "100%"}));
  EXPECT_EQ(labels(share_axis({1.0})), (std::vector<std::string>{"99%", "100%"}));
}

}  // namespace
}  // namespace fcsa::reports
