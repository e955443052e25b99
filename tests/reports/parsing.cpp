#include "tests/reports/parsing.h"

#include <fmt/format.h>

#include <array>
#include <regex>
#include <set>
#include <stdexcept>

namespace fcsa::reports::parsing {
namespace {

using Row = std::vector<std::string>;

// Reads a quoted field; `at` stands behind the opening quote and is moved behind the closing one.
std::string quoted_field(std::string_view text, std::size_t& at) {
  std::string field;
  while (at < text.size()) {
    const char c = text[at++];
    if (c != '"') {
      field += c;
    } else if (at < text.size() && text[at] == '"') {
      field += '"';
      ++at;
    } else {
      return field;
    }
  }
  throw std::runtime_error("a quoted field doesn't end");
}

std::string plain_field(std::string_view text, std::size_t& at) {
  const std::size_t end = text.find_first_of(",\r\n", at);
  const std::string field(text.substr(at, end - at));
  if (field.find('"') != std::string::npos) throw std::runtime_error("a quote inside the field " + field);
  at = std::min(end, text.size());
  return field;
}

std::vector<Row> csv_rows(std::string_view text) {
  std::vector<Row> rows(1);
  std::size_t at = 0;
  while (at < text.size()) {
    const bool is_quoted = text[at] == '"';
    rows.back().push_back(is_quoted ? quoted_field(text, ++at) : plain_field(text, at));
    if (text.substr(at, 1) == ",") {
      ++at;
      if (text.substr(at, 2) == "\r\n") rows.back().emplace_back();
    }
    if (text.substr(at, 2) == "\r\n") {
      at += 2;
      if (at < text.size()) rows.emplace_back();
    } else if (at == text.size() || text[at - 1] != ',') {
      throw std::runtime_error(fmt::format("no comma or line end at offset {}", at));
    }
  }
  return rows;
}

class HtmlReader {
 public:
  std::string fault(std::string_view html) {
    std::size_t at = 0;
    while (at < html.size() && fault_.empty()) {
      const std::size_t open = std::min(html.find('<', at), html.size());
      check_text(html.substr(at, open - at));
      if (open == html.size()) break;
      const std::size_t close = html.find('>', open);
      if (close == html.npos) return "a tag doesn't end";
      check_tag(html.substr(open + 1, close - open - 1));
      at = close + 1;
    }
    if (!fault_.empty()) return fault_;
    if (!open_.empty()) return fmt::format("<{}> is not closed", open_.back());
    for (const std::string& reference : references_) {
      if (!ids_.contains(reference)) return fmt::format("nothing has the id '{}'", reference);
    }
    return "";
  }

 private:
  void check_text(std::string_view text) {
    if (!open_.empty() && open_.back() == "style") {
      if (text.find("url(") != text.npos || text.find("@import") != text.npos)
        fault_ = "the style loads something";
      return;
    }
    static const std::regex entity("&(amp|lt|gt|quot|#[0-9]+);");
    const std::string without = std::regex_replace(std::string(text), entity, "");
    if (without.find('&') != std::string::npos) fault_ = fmt::format("a bare '&' in '{}'", text);
  }

  void check_tag(std::string_view tag) {
    if (tag.starts_with("!DOCTYPE")) return;
    const bool closing = tag.starts_with('/');
    const std::string name(tag.substr(closing ? 1 : 0, tag.find_first_of(" \n/", 1) - (closing ? 1 : 0)));
    if (name.empty()) {
      fault_ = fmt::format("a bare '<' before '{}'", tag);
    } else if (closing) {
      if (open_.empty() || open_.back() != name) {
        fault_ = fmt::format("</{}> closes <{}>", name, open_.empty() ? "nothing" : open_.back());
        return;
      }
      open_.pop_back();
    } else {
      check_attributes(name, tag.substr(name.size()));
      static const std::set<std::string> kVoid = {"meta", "wbr", "br", "hr"};
      if (!tag.ends_with('/') && !kVoid.contains(name)) open_.push_back(name);
    }
  }

  void check_attributes(const std::string& element, std::string_view text) {
    static const std::set<std::string> kLoading = {"script", "link", "img", "iframe", "object"};
    if (kLoading.contains(element)) fault_ = fmt::format("<{}> loads something", element);
    static const std::regex attribute("\\s+([a-zA-Z:-]+)(=\"([^\"<]*)\")?");
    const std::string attributes(text.substr(0, text.size() - (text.ends_with('/') ? 1 : 0)));
    std::size_t matched = 0;
    std::set<std::string> names;
    for (std::sregex_iterator it(attributes.begin(), attributes.end(), attribute), end; it != end; ++it) {
      matched += static_cast<std::size_t>(it->length());
      if (!names.insert((*it)[1]).second) fault_ = fmt::format("<{}> has {} twice", element, (*it)[1].str());
      note_attribute((*it)[1], (*it)[3]);
    }
    if (matched != attributes.size()) fault_ = fmt::format("attributes of <{}{}>", element, attributes);
  }

  void note_attribute(const std::string& name, const std::string& value) {
    if (name == "id" && !ids_.insert(value).second) fault_ = fmt::format("the id '{}' is used twice", value);
    if (name == "src") fault_ = "src loads something: " + value;
    if (name == "href" || name == "xlink:href") {
      if (!value.starts_with('#')) fault_ = "a link to elsewhere: " + value;
      references_.push_back(value.substr(1));
    }
    if (name != "aria-labelledby") return;
    const std::size_t blank = value.find(' ');
    references_.push_back(value.substr(0, blank));
    if (blank != std::string::npos) references_.push_back(value.substr(blank + 1));
  }

  std::string fault_;
  std::vector<std::string> open_;
  std::set<std::string> ids_;
  std::vector<std::string> references_;
};

}  // namespace

std::vector<std::map<std::string, std::string>> read_csv(std::string_view text) {
  if (!text.ends_with("\r\n")) throw std::runtime_error("the last line doesn't end in CRLF");
  const std::vector<Row> rows = csv_rows(text);
  std::vector<std::map<std::string, std::string>> records;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    if (rows[i].size() != rows[0].size()) {
      throw std::runtime_error(
          fmt::format("row {} has {} fields, the header {}", i, rows[i].size(), rows[0].size()));
    }
    auto& record = records.emplace_back();
    for (std::size_t c = 0; c < rows[i].size(); ++c) record[rows[0][c]] = rows[i][c];
  }
  return records;
}

std::string html_fault(std::string_view html) {
  if (!html.starts_with("<!DOCTYPE html>")) return "no DOCTYPE";
  return HtmlReader().fault(html);
}

}  // namespace fcsa::reports::parsing
