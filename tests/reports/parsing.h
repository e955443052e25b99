// Readers of what the reports write, strict enough to notice when it is malformed.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace fcsa::reports::parsing {

// RFC 4180 with a header line: one map from column to field per row. Throws std::runtime_error for a stray
// quote, a line that doesn't end in CRLF, or a row that isn't as long as the header.
std::vector<std::map<std::string, std::string>> read_csv(std::string_view text);

// What is wrong with an HTML page: elements not closed or wrongly nested, attributes without quotes, a bare
// '<' or
// '&', an id used twice, a reference to an id that isn't there, something loaded from elsewhere. Empty when
// nothing.
std::string html_fault(std::string_view html);

}  // namespace fcsa::reports::parsing
