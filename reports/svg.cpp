#include "reports/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <stdexcept>

#include "reports/format.h"
#include "reports/plot.h"

namespace fcsa::reports {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

// Attributes of one tag are rewritten; the rest of a tag is copied.
struct Attribute {
  std::string_view name, value;
};

std::optional<Colour> page_colour(std::string_view value) {
  int r = 0, g = 0, b = 0;
  if (!value.starts_with("rgb(")) return {};
  const std::string text(value);
  if (std::sscanf(text.c_str(), "rgb(%d,%d,%d)", &r, &g, &b) != 3 || r != g || g != b) return {};  // NOLINT
  return colour_of_grey(r);
}

std::string rewrite_attribute(const Attribute& attribute, std::string_view prefix) {
  const auto& [name, value] = attribute;
  if (name == "font-family" || name == "class" || name.starts_with("xmlns")) return {};
  if (name == "id") return fmt::format(" id=\"{}{}\"", prefix, value);
  if ((name == "xlink:href" || name == "href") && value.starts_with('#')) {
    return fmt::format(" href=\"#{}{}\"", prefix, value.substr(1));
  }
  if (const auto colour = page_colour(value)) {
    return fmt::format(" style=\"{}:var({})\"", name, css_variable(*colour));
  }
  std::string plain(value);
  std::replace_if(
      plain.begin(), plain.end(), [](char c) { return kBlanks.find(c) != kBlanks.npos; }, ' ');
  return fmt::format(" {}=\"{}\"", name, plain);
}

// `tag` is what stands between < and >.
std::string rewrite_tag(std::string_view tag, std::string_view prefix) {
  std::size_t at = std::min(tag.find_first_of(" \t\r\n/", 1), tag.size());
  std::string result = fmt::format("<{}", tag.substr(0, at));
  while (true) {
    at = tag.find_first_not_of(kBlanks, at);
    const std::size_t equals = at == tag.npos ? tag.npos : tag.find('=', at);
    if (equals == tag.npos || equals + 1 >= tag.size()) break;
    const std::size_t end = tag.find(tag[equals + 1], equals + 2);
    if (end == tag.npos) break;
    result +=
        rewrite_attribute({tag.substr(at, equals - at), tag.substr(equals + 2, end - equals - 2)}, prefix);
    at = end + 1;
  }
  return result + (tag.ends_with('/') ? "/>" : ">");
}

// Elements that a page doesn't need: gnuplot's own titles, and filters for boxed labels, which have fixed
// colours.
bool is_dropped(std::string_view tag) {
  static constexpr std::array<std::string_view, 3> kDropped = {"title", "desc", "filter"};
  return std::any_of(kDropped.begin(), kDropped.end(), [&](std::string_view name) {
    return tag.starts_with(name) &&
           (tag.size() == name.size() || kBlanks.find(tag[name.size()]) != kBlanks.npos);
  });
}

std::string_view element_name(std::string_view tag) {
  return tag.substr(0, tag.find_first_of(" \t\r\n/"));
}

void remove_all(std::string& text, std::string_view what) {
  for (std::size_t at = text.find(what); at != text.npos; at = text.find(what, at))
    text.erase(at, what.size());
}

// gnuplot opens a group for every change of pen, drawn with or not.
void drop_empty_groups(std::string& text) {
  for (std::size_t close = text.find("></g>"); close != text.npos; close = text.find("></g>", close)) {
    const std::size_t open = text.rfind('<', close);
    const bool empty_group = text.compare(open, 3, "<g ") == 0 && text[close - 1] != '/';
    if (empty_group) {
      text.erase(open, close + 5 - open);
      close = open;
    } else {
      ++close;
    }
  }
}

std::string rewrite_body(std::string_view body, std::string_view prefix) {
  std::string result;
  std::size_t at = 0;
  while (at < body.size()) {
    const std::size_t open = std::min(body.find('<', at), body.size());
    const std::string_view text = body.substr(at, open - at);
    if (text.find_first_not_of(kBlanks) != text.npos) result += text;
    if (open == body.size()) break;
    const std::size_t close = body.find('>', open);
    if (close == body.npos) throw std::invalid_argument("the plot is not SVG: a tag doesn't end");
    const std::string_view tag = body.substr(open + 1, close - open - 1);
    at = close + 1;
    if (is_dropped(tag)) {
      const std::string end = fmt::format("</{}>", element_name(tag));
      const std::size_t end_at = body.find(end, at);
      if (end_at == body.npos) throw std::invalid_argument("the plot is not SVG: no " + end);
      at = end_at + end.size();
      continue;
    }
    result += rewrite_tag(tag, prefix);
  }
  return result;
}

}  // namespace

std::string embed_svg(std::string_view svg, std::string_view id_prefix, const SvgText& text) {
  const std::size_t root = svg.find("<svg");
  const std::size_t body = root == svg.npos ? svg.npos : svg.find('>', root);
  const std::size_t end = svg.rfind("</svg>");
  if (body == svg.npos || end == svg.npos)
    throw std::invalid_argument("the plot is not SVG: no <svg> element");
  const std::string_view root_tag = svg.substr(root, body - root);
  const std::size_t box = root_tag.find("viewBox=\"");
  const std::string_view from_box = box == root_tag.npos ? "0 0 360 250\"" : root_tag.substr(box + 9);
  const std::string view_box(from_box.substr(0, from_box.find('"')));

  std::string inner = rewrite_body(svg.substr(body + 1, end - body - 1), id_prefix);
  drop_empty_groups(inner);
  remove_all(inner, " stroke-linecap=\"round\" stroke-linejoin=\"round\"");
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"{0}\" role=\"img\" "
      "aria-labelledby=\"{1}title {1}desc\" stroke-linecap=\"round\" stroke-linejoin=\"round\">"
      "<title id=\"{1}title\">{2}</title><desc id=\"{1}desc\">{3}</desc>{4}</svg>",
      view_box, id_prefix, html_escape(text.title), html_escape(text.description), inner);
}

}  // namespace fcsa::reports
