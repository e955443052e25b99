#include "runner/compile/machine_code.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <stdexcept>
#include <vector>

#include "runner/compile/binary_cache.h"

namespace fcsa::runner {
namespace {

[[noreturn]] void refuse(const std::string& reason) {
  throw std::invalid_argument("no cubin whose code can be compared: " + reason);
}

std::string_view part(std::string_view bytes, std::uint64_t begin, std::uint64_t size, const char* what) {
  if (begin > bytes.size() || size > bytes.size() - begin)
    refuse(
        fmt::format("{} at byte {} ({} bytes) is beyond the end, byte {}", what, begin, size, bytes.size()));
  return bytes.substr(begin, size);
}

template <typename T>
T read(std::string_view bytes, std::uint64_t begin, const char* what) {
  T value;
  std::memcpy(&value, part(bytes, begin, sizeof value, what).data(), sizeof value);
  return value;
}

struct Section {
  std::string_view name;
  Elf64_Shdr header;
  std::string_view content;  // empty where the file has only a size
};

std::vector<Section> sections_of(std::string_view cubin) {
  const auto file = read<Elf64_Ehdr>(cubin, 0, "the ELF header");
  if (std::memcmp(file.e_ident, ELFMAG, SELFMAG) != 0 || file.e_ident[EI_CLASS] != ELFCLASS64 ||
      file.e_ident[EI_DATA] != ELFDATA2LSB || file.e_shentsize != sizeof(Elf64_Shdr))
    refuse("not a little-endian ELF64 file");
  const auto headers =
      part(cubin, file.e_shoff, file.e_shnum * std::uint64_t{sizeof(Elf64_Shdr)}, "the section headers");
  std::vector<Section> sections(file.e_shnum);
  for (std::size_t i = 0; i < sections.size(); ++i) {
    auto& [name, header, content] = sections[i];
    header = read<Elf64_Shdr>(headers, i * sizeof header, "a section header");
    if (header.sh_type != SHT_NULL && header.sh_type != SHT_NOBITS)
      content = part(cubin, header.sh_offset, header.sh_size, "a section");
  }
  if (file.e_shstrndx >= sections.size()) refuse("no section has the names of the sections");
  const auto names = sections[file.e_shstrndx].content;
  for (auto& section : sections) {
    const auto end = names.find('\0', section.header.sh_name);
    if (end == std::string_view::npos) refuse("a section's name is beyond the names");
    section.name = names.substr(section.header.sh_name, end - section.header.sh_name);
  }
  return sections;
}

// What .nv.info and .nv.info.KERNEL are made of.
struct Attribute {
  enum Id : std::uint8_t {
    max_threads = 0x05,
    required_threads = 0x10,
    frame_size = 0x11,
    min_stack_size = 0x12,
    max_stack_size = 0x23,
    registers = 0x2f,
    cluster_size = 0x3d,
    explicit_cluster = 0x3e,
    barriers = 0x4c
  };
  std::uint8_t id = 0;
  std::string_view value;
};

std::vector<Attribute> attributes_of(std::string_view info) {
  constexpr std::uint8_t kNoValue = 1, kSized = 4;  // between them: a value of 8 or 16 bits
  std::vector<Attribute> attributes;
  for (std::size_t at = 0; at < info.size();) {
    const auto head = part(info, at, 4, "an attribute");
    const auto format = static_cast<std::uint8_t>(head[0]);
    if (format < kNoValue || format > kSized)
      refuse(fmt::format("an attribute of unknown format {}", format));
    at += head.size();
    auto value = head.substr(2);
    if (format == kSized) {
      value = part(info, at, read<std::uint16_t>(value, 0, "a size"), "an attribute's value");
      at += value.size();
    }
    attributes.push_back({static_cast<std::uint8_t>(head[1]), value});
  }
  return attributes;
}

const Section* find(const std::vector<Section>& sections, std::string_view name) {
  const auto found = std::find_if(sections.begin(), sections.end(),
                                  [&](const auto& section) { return section.name == name; });
  return found == sections.end() ? nullptr : &*found;
}

std::string_view content_of(const std::vector<Section>& sections, std::string_view name) {
  const auto* section = find(sections, name);
  return section == nullptr ? std::string_view{} : section->content;
}

// Registers and stack, by the section that the function is in; there a function that isn't inlined has its
// own stack.
std::map<std::size_t, std::vector<std::string>> needs_of(const std::vector<Section>& sections) {
  const auto symbols = content_of(sections, ".symtab");
  std::map<std::size_t, std::vector<std::string>> needs;
  for (const auto& [id, value] : attributes_of(content_of(sections, ".nv.info"))) {
    if (id != Attribute::registers && id != Attribute::frame_size && id != Attribute::min_stack_size &&
        id != Attribute::max_stack_size)
      continue;
    const std::uint64_t place = read<std::uint32_t>(value, 0, "an attribute's symbol") * sizeof(Elf64_Sym);
    const auto symbol = read<Elf64_Sym>(symbols, place, "an attribute's symbol");
    needs[symbol.st_shndx].push_back(
        fmt::format("{}={}", id, read<std::uint32_t>(value, 4, "an attribute's value")));
  }
  for (auto& [section, list] : needs) std::sort(list.begin(), list.end());
  return needs;
}

// Pieces of text and bytes, each with its length in front, so that none can move into another unnoticed.
class Content {
 public:
  void add(std::string_view piece) { text_ += fmt::format("{}:{};", piece.size(), piece); }
  void add(std::uint64_t number) { add(std::to_string(number)); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

bool limits_launches(std::uint8_t id) {
  return id == Attribute::max_threads || id == Attribute::required_threads || id == Attribute::cluster_size ||
         id == Attribute::explicit_cluster || id == Attribute::barriers;
}

std::string kernel_content(const std::vector<Section>& sections, const Section& text,
                           const std::vector<std::string>& needs) {
  const auto kernel = text.name.substr(std::string_view(".text").size());  // ".KERNEL"
  const auto named = [&](std::string_view kind) { return find(sections, fmt::format("{}{}", kind, kernel)); };
  for (const char* kind : {".rel.text", ".rela.text"})
    if (const auto* relocations = named(kind); relocations != nullptr && relocations->header.sh_size > 0)
      refuse(fmt::format("kernel {} is completed when it is loaded ({}{})", kernel.substr(1), kind, kernel));
  Content content;
  content.add(text.content);
  content.add(text.header.sh_flags);
  content.add(text.header.sh_info >> 24);  // registers, before sm_100; below that the number of a symbol
  for (const auto& need : needs) content.add(need);
  for (const char* kind : {".nv.shared", ".nv.local"}) {
    const auto* memory = named(kind);
    content.add(memory == nullptr ? 0 : memory->header.sh_size);
  }
  content.add(content_of(sections, fmt::format(".nv.constant2{}", kernel)));
  for (const auto& [id, value] : attributes_of(content_of(sections, fmt::format(".nv.info{}", kernel))))
    if (limits_launches(id)) content.add(id), content.add(value);
  return content.text();
}

}  // namespace

std::string machine_code_hash(std::string_view cubin) {
  const auto sections = sections_of(cubin);
  const auto needs = needs_of(sections);
  std::vector<std::string> kernels;
  for (std::size_t i = 0; i < sections.size(); ++i) {
    if (!sections[i].name.starts_with(".text.")) continue;
    const auto own = needs.find(i);
    kernels.push_back(
        kernel_content(sections, sections[i], own == needs.end() ? std::vector<std::string>{} : own->second));
  }
  if (kernels.empty()) refuse("it has no kernels");
  std::sort(kernels.begin(), kernels.end());
  Content content;
  for (const auto& kernel : kernels) content.add(kernel);
  content.add(content_of(sections, ".nv.constant3"));  // __constant__ variables, of all kernels
  return content_hash(content.text());
}

}  // namespace fcsa::runner
