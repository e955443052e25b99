#include <fmt/format.h>
#include <xxhash.h>

#include <cctype>

#include "runner/compile/binary_cache.h"

namespace fcsa::runner {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// Copies C++ text piece by piece, leaving comments out.
class CommentStripper {
 public:
  explicit CommentStripper(std::string_view text) : text_(text) {}

  std::string run() {
    while (at_ < text_.size()) {
      if (rest().starts_with("//")) {
        skip_line_comment();
      } else if (rest().starts_with("/*")) {
        const auto end = text_.find("*/", at_ + 2);
        at_ = end == std::string_view::npos ? text_.size() : end + 2;
        out_ += ' ';
      } else if (text_[at_] == '"') {
        is_raw_prefix() ? copy_raw_string() : copy_quoted('"');
      } else if (text_[at_] == '\'' && !in_number()) {
        copy_quoted('\'');
      } else if (text_[at_] == '\n') {
        end_line();
      } else {
        out_ += text_[at_++];
      }
    }
    end_line();
    return std::move(out_);
  }

 private:
  std::string_view rest() const { return text_.substr(at_); }

  void skip_line_comment() {
    while (at_ < text_.size() && text_[at_] != '\n') at_ += text_[at_] == '\\' ? 2 : 1;
  }

  // Drops blanks at the end of a line, and lines without anything else.
  void end_line() {
    while (out_.size() > line_begin_ && (out_.back() == ' ' || out_.back() == '\t')) out_.pop_back();
    if (out_.size() > line_begin_) out_ += '\n';
    line_begin_ = out_.size();
    ++at_;
  }

  bool is_raw_prefix() const {
    if (at_ == 0 || text_[at_ - 1] != 'R') return false;
    std::size_t begin = at_ - 1;
    while (begin > 0 && is_word(text_[begin - 1])) --begin;
    const auto prefix = text_.substr(begin, at_ - begin);
    return prefix == "R" || prefix == "LR" || prefix == "uR" || prefix == "UR" || prefix == "u8R";
  }

  void copy_raw_string() {
    const auto open = text_.find('(', at_);
    if (open == std::string_view::npos) return copy_to(text_.size());
    const std::string close = fmt::format("){}\"", text_.substr(at_ + 1, open - at_ - 1));
    const auto end = text_.find(close, open);
    copy_to(end == std::string_view::npos ? text_.size() : end + close.size());
  }

  void copy_quoted(char quote) {
    std::size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote && text_[end] != '\n') end += text_[end] == '\\' ? 2 : 1;
    copy_to(std::min(end + 1, text_.size()));
  }

  void copy_to(std::size_t end) {
    out_ += text_.substr(at_, end - at_);
    line_begin_ = out_.rfind('\n') + 1;
    at_ = end;
  }

  // The quote in 1'000 separates digits.
  bool in_number() const {
    std::size_t begin = at_;
    while (begin > 0 && (is_word(text_[begin - 1]) || text_[begin - 1] == '\'')) --begin;
    return begin < at_ && std::isdigit(static_cast<unsigned char>(text_[begin])) != 0;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string out_;
  std::size_t line_begin_ = 0;
};

}  // namespace

std::string without_comments(std::string_view source) {
  return CommentStripper(source).run();
}

std::string content_hash(std::string_view content) {
  const XXH128_hash_t hash = XXH3_128bits(content.data(), content.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::string source_hash(const kernels::KernelSource& source, const kernels::Target& target,
                        const CompilerDescription& compiler) {
  std::string content;
  // With its length in front, so that text can't move from one field to the next unnoticed.
  const auto add = [&content](std::string_view field) {
    content += fmt::format("{}:{};", field.size(), field);
  };
  add(without_comments(source.text));
  for (const auto& entry : source.entries) add(entry);
  add("options");
  for (const auto& option : compiler.options) add(option);
  add(kernels::to_text(source.kind));
  add(target.arch);
  add(compiler.version);
  return content_hash(content);
}

}  // namespace fcsa::runner
