// A table as HTML, in a box of its own that scrolls sideways.
#pragma once

#include <string>

#include "reports/format.h"

namespace fcsa::reports {

// What a column holds is told by its name (configurations, shares, prose) and by its cells (numbers). `label`
// is the accessible name.
std::string table_html(const Table& table, const std::string& label);

}  // namespace fcsa::reports
