#include "runner/compile/binary_cache.h"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "runner/process/temporary_directory.h"
#include "tests/runner/processes.h"

namespace fcsa::runner {
namespace {

namespace fs = std::filesystem;

const kernels::Target kTarget{.arch = "avx2"};
const CompilerDescription kCompiler{"g++ 12", {"-O3"}};

std::string hash_of(const std::string& text) {
  return source_hash({{}, text, {"f"}}, kTarget, kCompiler);
}

CompileResult result_with(const std::string& binary) {
  return {.ok = true,
          .log = "log \xff",
          .message = {},
          .symbols = {"f", "g"},
          .binary = binary,
          .resources = {.registers = 40},
          .warnings = {"C7508"}};
}

TEST(WithoutComments, DropsCommentsAndBlankLines) {
  EXPECT_EQ(without_comments("int a;  // first\n\n/* second\n line */int b;\n  // third\n"),
            "int a;\n int b;\n");
}

TEST(WithoutComments, KeepsWhatLooksLikeACommentInsideAString) {
  const std::string text = "auto a = \"// not \\\" a /* comment\";\n";
  EXPECT_EQ(without_comments(text), text);
}

TEST(WithoutComments, KeepsRawStringsAsTheyAre) {
  const std::string text = "auto a = u8R\"x(// one\n\n  )\" /* two */)x\";\n";
  EXPECT_EQ(without_comments(text), text);
}

TEST(WithoutComments, KnowsCharacterLiterals) {
  EXPECT_EQ(without_comments("char a = '\"'; // b\nchar c = '\\''; // d\n"),
            "char a = '\"';\nchar c = '\\'';\n");
}

TEST(WithoutComments, KnowsDigitSeparators) {
  EXPECT_EQ(without_comments("int a = 1'000; // b\n"), "int a = 1'000;\n");
}

TEST(WithoutComments, FollowsALineCommentOverAContinuation) {
  EXPECT_EQ(without_comments("int a; // b \\\n still the comment\nint c;\n"), "int a;\nint c;\n");
}

TEST(WithoutComments, SurvivesTextThatEndsInTheMiddle) {
  for (const char* text : {"/* open", "\"open", "R\"x(open", "'", "// end\\", "R\"", "\"\\"})
    EXPECT_NO_THROW(without_comments(text)) << text;
}

TEST(SourceHash, IgnoresComments) {
  EXPECT_EQ(hash_of("int a; // x\n"), hash_of("int a;\n// y\n"));
}

TEST(SourceHash, DependsOnEverythingElse) {
  const kernels::KernelSource source{{}, "int a;", {"f"}};
  const auto base = source_hash(source, kTarget, kCompiler);
  EXPECT_EQ(base.size(), 32U);
  EXPECT_NE(base, source_hash({{}, "int b;", {"f"}}, kTarget, kCompiler));
  EXPECT_NE(base, source_hash({{}, "int a;", {"g"}}, kTarget, kCompiler));
  EXPECT_NE(base, source_hash(source, {.arch = "avx512"}, kCompiler));
  EXPECT_NE(base, source_hash(source, kTarget, {"g++ 13", {"-O3"}}));
  EXPECT_NE(base, source_hash(source, kTarget, {"g++ 12", {"-O2"}}));
}

TEST(BinaryCache, FindsWhatWasStored) {
  const TemporaryDirectory directory;
  const BinaryCache cache(directory.path() / "a" / "b");
  EXPECT_FALSE(cache.find("k"));
  cache.store("k", kernels::DeviceKind::cpu, result_with("code"));
  const auto found = cache.find("k");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->binary.path, (directory.path() / "a" / "b" / "k.so").string());
  EXPECT_EQ(text_of(found->binary.path), "code");
  EXPECT_EQ(found->binary.symbols, (std::vector<std::string>{"f", "g"}));
  EXPECT_EQ(found->resources.registers, 40);
  EXPECT_EQ(found->warnings, std::vector<std::string>{"C7508"});
}

TEST(BinaryCache, NamesFilesForTheirDevice) {
  const TemporaryDirectory directory;
  const BinaryCache cache(directory.path());
  const auto stored = cache.store("k", kernels::DeviceKind::cuda, result_with("code"));
  EXPECT_EQ(fs::path(stored.binary.path).filename(), "k.cubin");
}

TEST(BinaryCache, DoesNotReturnAChangedBinary) {
  const TemporaryDirectory directory;
  const BinaryCache cache(directory.path());
  cache.store("k", kernels::DeviceKind::cpu, result_with("code"));
  std::ofstream(directory.path() / "k.so") << "Code";
  EXPECT_FALSE(cache.find("k"));
}

TEST(BinaryCache, DoesNotReturnAnEntryWithoutItsBinary) {
  const TemporaryDirectory directory;
  const BinaryCache cache(directory.path());
  cache.store("k", kernels::DeviceKind::cpu, result_with("code"));
  fs::remove(directory.path() / "k.so");
  EXPECT_FALSE(cache.find("k"));
}

TEST(BinaryCache, DoesNotReturnATruncatedEntry) {
  const TemporaryDirectory directory;
  const BinaryCache cache(directory.path());
  cache.store("k", kernels::DeviceKind::cpu, result_with("code"));
  const auto path = directory.path() / "k.json";
  for (const std::size_t size : {fs::file_size(path) / 2, std::uintmax_t{0}}) {
    fs::resize_file(path, size);
    EXPECT_FALSE(cache.find("k"));
  }
}

TEST(BinaryCache, LeavesNoTemporaryFiles) {
  const TemporaryDirectory directory;
  const BinaryCache cache(directory.path());
  cache.store("k", kernels::DeviceKind::cpu, result_with("code"));
  EXPECT_EQ(std::distance(fs::directory_iterator(directory.path()), fs::directory_iterator()), 2);
}

TEST(BinaryCache, TakesConcurrentWritersOfOneKey) {
  const TemporaryDirectory directory;
  const BinaryCache cache(directory.path());
  const std::string code(1 << 16, 'x');
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) cache.store("k", kernels::DeviceKind::cpu, result_with(code));
    });
  for (auto& thread : threads) thread.join();
  ASSERT_TRUE(cache.find("k"));
}

TEST(BinaryCache, SaysWhereItCannotWrite) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "file";
  std::ofstream(file) << "in the way";
  try {
    const BinaryCache cache(file / "cache");
    FAIL() << "accepted";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find(file.string()), std::string::npos) << error.what();
  }
}

TEST(BinaryCache, SaysWhichFileItCouldNotStore) {
  const TemporaryDirectory directory;
  const BinaryCache cache(directory.path() / "cache");
  fs::remove_all(directory.path() / "cache");
  try {
    cache.store("k", kernels::DeviceKind::cpu, result_with("code"));
    FAIL() << "accepted";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("k.so"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace fcsa::runner
