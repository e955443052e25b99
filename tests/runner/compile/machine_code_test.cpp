// Small cubins made here, with one thing changed at a time.
#include "runner/compile/machine_code.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace fcsa::runner {
namespace {

struct Kernel {
  std::string name = "_Z7forward";
  std::string code = "sixteen byte ops";
  std::uint8_t registers = 168;
  std::uint32_t stack_bytes = 0;
  std::size_t shared_bytes = 1024;
  std::string constants = {};
  std::size_t parameter_bytes = 528;
  std::string relocations = {};
  std::uint8_t barriers = 1;
  std::uint32_t cluster = 1;
};

template <typename T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// An attribute of .nv.info: of 8 or 16 bits, or with its size.
std::string short_attribute(std::uint8_t format, std::uint8_t id, std::uint16_t value) {
  return bytes_of(format) + bytes_of(id) + bytes_of(value);
}

std::string sized_attribute(std::uint8_t id, const std::vector<std::uint32_t>& values) {
  std::string text = short_attribute(4, id, static_cast<std::uint16_t>(4 * values.size()));
  for (const auto value : values) text += bytes_of(value);
  return text;
}

class ElfWriter {
 public:
  // Returns its index.
  std::size_t add(const std::string& name, std::uint32_t type, const std::string& content,
                  std::uint32_t info = 0) {
    Elf64_Shdr header = {};
    header.sh_name = static_cast<std::uint32_t>(names_.size());
    names_ += name + '\0';
    header.sh_type = type;
    header.sh_info = info;
    header.sh_offset = sizeof(Elf64_Ehdr) + contents_.size();
    header.sh_size = content.size();
    if (type != SHT_NOBITS) contents_ += content;
    headers_.push_back(header);
    return headers_.size() - 1;
  }

  // Section headers last, so that no file that is cut off is whole.
  std::string file() {
    const auto names = add(".shstrtab", SHT_STRTAB, "");
    headers_[names].sh_offset = sizeof(Elf64_Ehdr) + contents_.size();
    headers_[names].sh_size = names_.size();
    Elf64_Ehdr file = {};
    std::memcpy(file.e_ident, ELFMAG, SELFMAG);
    file.e_ident[EI_CLASS] = ELFCLASS64;
    file.e_ident[EI_DATA] = ELFDATA2LSB;
    file.e_shoff = sizeof file + contents_.size() + names_.size();
    file.e_shentsize = sizeof(Elf64_Shdr);
    file.e_shnum = static_cast<std::uint16_t>(headers_.size());
    file.e_shstrndx = static_cast<std::uint16_t>(names);
    std::string text = bytes_of(file) + contents_ + names_;
    for (const auto& header : headers_) text += bytes_of(header);
    return text;
  }

 private:
  std::string names_{'\0'}, contents_;
  std::vector<Elf64_Shdr> headers_{Elf64_Shdr{}};
};

// `in_info`: the registers are where sm_100 and later have them.
std::string cubin(const std::vector<Kernel>& kernels, bool in_info = false) {
  ElfWriter elf;
  std::string symbols(sizeof(Elf64_Sym), '\0'), info;
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const auto& kernel = kernels[i];
    const auto number = static_cast<std::uint32_t>(i + 1);
    const auto registers = static_cast<std::uint32_t>(in_info ? 0 : kernel.registers) << 24;
    Elf64_Sym symbol = {};
    symbol.st_shndx = static_cast<std::uint16_t>(
        elf.add(".text." + kernel.name, SHT_PROGBITS, kernel.code, registers | number));
    symbols += bytes_of(symbol);
    if (in_info) info += sized_attribute(0x2f, {number, kernel.registers});
    info += sized_attribute(0x11, {number, kernel.stack_bytes});
    elf.add(".nv.info." + kernel.name, SHT_LOPROC,
            short_attribute(3, 0x19, static_cast<std::uint16_t>(kernel.parameter_bytes)) +
                short_attribute(2, 0x4c, kernel.barriers) + short_attribute(1, 0x3e, 0) +
                sized_attribute(0x3d, {kernel.cluster, 1, 1}));
    elf.add(".nv.shared." + kernel.name, SHT_NOBITS, std::string(kernel.shared_bytes, '\0'));
    elf.add(".nv.constant0." + kernel.name, SHT_PROGBITS, std::string(kernel.parameter_bytes, '\0'));
    if (!kernel.constants.empty()) elf.add(".nv.constant2." + kernel.name, SHT_PROGBITS, kernel.constants);
    elf.add(".rela.text." + kernel.name, SHT_RELA, kernel.relocations);
  }
  elf.add(".symtab", SHT_SYMTAB, symbols);
  elf.add(".nv.info", SHT_LOPROC, info);
  return elf.file();
}

std::string hash_of(const Kernel& kernel) {
  return machine_code_hash(cubin({kernel}));
}

// Whether it was refused; any other exception, or a read beyond the end, fails the test.
bool refused(const std::string& bytes) {
  try {
    machine_code_hash(bytes);
    return false;
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("no cubin whose code can be compared: "), std::string::npos);
    return true;
  }
}

TEST(MachineCode, NamesOfKernelsDontCount) {
  EXPECT_EQ(hash_of({.name = "_Z7forward"}), hash_of({.name = "_Z7forwardILi1ELi0EE"}));
}

TEST(MachineCode, TheOrderOfKernelsDoesntCount) {
  const Kernel a{.name = "a", .code = "this"}, b{.name = "b", .code = "that", .stack_bytes = 16};
  EXPECT_EQ(machine_code_hash(cubin({a, b})), machine_code_hash(cubin({b, a})));
}

TEST(MachineCode, TheSizeOfTheParametersDoesntCount) {
  EXPECT_EQ(hash_of({.parameter_bytes = 528}), hash_of({.parameter_bytes = 536}));
}

TEST(MachineCode, InstructionsRegistersMemoryAndLimitsCount) {
  const auto plain = hash_of({});
  EXPECT_NE(hash_of({.code = "sixteen byte opS"}), plain);
  EXPECT_NE(hash_of({.registers = 160}), plain);
  EXPECT_NE(hash_of({.stack_bytes = 8}), plain);
  EXPECT_NE(hash_of({.shared_bytes = 2048}), plain);
  EXPECT_NE(hash_of({.constants = "1234"}), plain);
  EXPECT_NE(hash_of({.barriers = 2}), plain);
  EXPECT_NE(hash_of({.cluster = 2}), plain);
}

TEST(MachineCode, RegistersCountWhereNewerArchitecturesHaveThem) {
  EXPECT_NE(machine_code_hash(cubin({{.registers = 168}}, true)),
            machine_code_hash(cubin({{.registers = 160}}, true)));
}

TEST(MachineCode, EveryKernelCountsAsOftenAsItIsThere) {
  const Kernel a{.name = "a"}, b{.name = "b"};
  EXPECT_NE(machine_code_hash(cubin({a})), machine_code_hash(cubin({a, b})));
}

TEST(MachineCode, CodeThatIsCompletedWhenLoadedIsRefused) {
  EXPECT_TRUE(refused(cubin({{.relocations = std::string(sizeof(Elf64_Rela), '\1')}})));
}

TEST(MachineCode, WhatIsNoCubinIsRefused) {
  EXPECT_TRUE(refused(""));
  EXPECT_TRUE(refused(std::string(4096, 'x')));
  EXPECT_TRUE(refused(cubin({})));
  std::string narrow = cubin({{}});
  narrow[EI_CLASS] = ELFCLASS32;
  EXPECT_TRUE(refused(narrow));
}

TEST(MachineCode, AFileThatIsCutOffIsRefusedWhereverThatIs) {
  const std::string whole = cubin({{.name = "a", .constants = "1234"}, {.name = "b"}});
  for (std::size_t size = 0; size < whole.size(); ++size)
    ASSERT_TRUE(refused(whole.substr(0, size))) << size << " of " << whole.size() << " bytes";
}

TEST(MachineCode, DamagedBytesAreRefusedOrHashed) {
  const std::string whole = cubin({{.name = "a", .constants = "1234"}, {.name = "b"}});
  std::mt19937 random(1);
  std::size_t refusals = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(random());
    refusals += refused(damaged);
    damaged[i] = '\xff';
    refusals += refused(damaged);
  }
  EXPECT_GT(refusals, 0U);
}

}  // namespace
}  // namespace fcsa::runner
