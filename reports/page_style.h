// The style sheet of the report: light and dark, narrow and wide, nothing loaded from elsewhere.
#pragma once

#include <string_view>

namespace fcsa::reports {

std::string_view page_style();

}  // namespace fcsa::reports
