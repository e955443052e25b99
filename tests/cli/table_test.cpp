#include "cli/table.h"

#include <gtest/gtest.h>

namespace fcsa::cli {
namespace {

const Table kTable{{"name", "time ms"}, {{"a", "1.5"}, {"longer", "-"}, {"µ", "12"}}};

TEST(Table, AlignsColumnsNumbersToTheRight) {
  EXPECT_EQ(to_text(kTable), "name    time ms\na           1.5\nlonger        -\nµ            12\n");
}

TEST(Table, JsonHasNumbersAndNulls) {
  EXPECT_EQ(to_json({{"name", "time ms"}, {{"a", "1.5"}, {"nan", "-"}}}),
            "[\n  {\n    \"name\": \"a\",\n    \"time_ms\": 1.5\n  },\n  {\n    \"name\": \"nan\",\n"
            "    \"time_ms\": null\n  }\n]\n");
}

TEST(Table, WithoutRowsIsItsHeaders) {
  EXPECT_EQ(to_text({{"a", "b"}, {}}), "a  b\n");
  EXPECT_EQ(to_json({{"a", "b"}, {}}), "[]\n");
}

}  // namespace
}  // namespace fcsa::cli
