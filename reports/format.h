// Numbers, lengths and text as the reports write them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace fcsa::reports {

// A header line and rows of as many cells; cells are plain text, escaped where they are written.
struct Table {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

std::string html_escape(std::string_view text);                // for text and quoted attributes
std::string markdown_escape(std::string_view text);            // for a table cell
std::string csv_line(const std::vector<std::string>& fields);  // RFC 4180, CRLF included

std::string markdown_table(const Table& table);

// "512", "1k", "64k"; a length that is no multiple of 1024 in full.
std::string length_text(int length);
// Rounded to significant digits without an exponent: "0.0123", "1.50", "1234".
std::string significant(double value, int digits = 3);
std::string count_text(std::size_t count, std::string_view singular,
                       std::string_view plural);  // "1 trial", "2 trials"
std::string bytes_text(double bytes);             // "512 B", "1.50 MiB", "64 GiB"

}  // namespace fcsa::reports
