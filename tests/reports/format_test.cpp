#include "reports/format.h"

#include <gtest/gtest.h>

#include "reports/axes.h"
#include "tests/reports/parsing.h"

namespace fcsa::reports {
namespace {

TEST(Format, EscapesWhatHtmlTakesForMarkup) {
  EXPECT_EQ(html_escape("<b> & \"x\" 'y'"), "&lt;b&gt; &amp; &quot;x&quot; &#39;y&#39;");
}

TEST(Format, EscapesWhatMarkdownTakesForATable) {
  EXPECT_EQ(markdown_escape("a|b\nc"), "a\\|b c");
}

TEST(Format, WritesFieldsThatReadBackAsTheyWere) {
  const std::string nasty = "say \"hi\",\r\nthen go";
  const auto rows = parsing::read_csv(csv_line({"a", "b", "c"}) + csv_line({nasty, "", "plain"}));
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].at("a"), nasty);
  EXPECT_EQ(rows[0].at("b"), "");
  EXPECT_EQ(rows[0].at("c"), "plain");
}

TEST(Format, RoundsToSignificantDigitsWithoutExponents) {
  EXPECT_EQ(significant(0.0123456), "0.0123");
  EXPECT_EQ(significant(1.5), "1.50");
  EXPECT_EQ(significant(123456.0), "123456");
  EXPECT_EQ(significant(0), "0");
}

TEST(Format, WritesLengthsInUnitsOf1024) {
  EXPECT_EQ(length_text(512), "512");
  EXPECT_EQ(length_text(1024), "1k");
  EXPECT_EQ(length_text(65536), "64k");
  EXPECT_EQ(length_text(1500), "1500");
}

TEST(Format, WritesBytesInBinaryUnits) {
  EXPECT_EQ(bytes_text(512), "512 B");
  EXPECT_EQ(bytes_text(1024.0 * 1024 * 1.5), "1.50 MiB");
  EXPECT_EQ(bytes_text(1024.0 * 1024 * 1024 * 64), "64 GiB");
}

TEST(Axes, PutASingleLengthInTheMiddle) {
  const Axis axis = length_axis({1024});
  ASSERT_EQ(axis.ticks.size(), 1U);
  EXPECT_EQ(axis.ticks[0].label, "1k");
  EXPECT_DOUBLE_EQ(axis.low * axis.high, 1024.0 * 1024.0);
}

TEST(Axes, LabelLengthsThatAreNoPowersOfTwo) {
  const Axis axis = length_axis({1000, 1500});
  ASSERT_EQ(axis.ticks.size(), 2U);
  EXPECT_EQ(axis.ticks[1].label, "1500");
}

TEST(Axes, StartSpeedsAtZeroAndHoldTheLargest) {
  const Axis axis = zero_axis({3, 7}, false);
  EXPECT_EQ(axis.low, 0);
  EXPECT_GT(axis.high, 7);
  ASSERT_FALSE(axis.ticks.empty());
  EXPECT_EQ(axis.ticks.front().label, "0");
}

TEST(Axes, GiveZeroBytesAPlaceOnALogarithmicAxis) {
  const Axis axis = binary_axis({0, 1 << 20, 1 << 24}, Binary::bytes, false);
  ASSERT_TRUE(axis.logarithmic);
  EXPECT_EQ(axis.ticks.back().label, "0");
  EXPECT_EQ(axis.ticks.back().at, axis.low);
  EXPECT_LT(axis.low, 1 << 20);
}

TEST(Axes, LeaveRoomForCrosses) {
  EXPECT_GT(decimal_axis({1, 100}, true).high, decimal_axis({1, 100}, false).high);
}

TEST(Axes, AreValidForNoValuesAtAll) {
  for (const Axis& axis : {length_axis({}), zero_axis({}, true), decimal_axis({}, true),
                           binary_axis({}, Binary::bytes, true), binary_axis({0, 0}, Binary::bytes, true)}) {
    EXPECT_LT(axis.low, axis.high);
    EXPECT_TRUE(!axis.logarithmic || axis.low > 0);
  }
}

}  // namespace
}  // namespace fcsa::reports
