// Recorded spaces of tests: text in the T4 format, and files of it.
#pragma once

#include <fmt/format.h>
#include <zlib.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

namespace fcsa::tuner::testing {

struct T4Options {
  int block_sizes = 12, tiles = 10, unrolls = 3;
  std::function<bool(int block, int tile)> fails = [](int block, int tile) { return block * tile > 1024; };
};

// A valley along which large blocks want small tiles; blocks that are no multiple of 32 are slower.
inline double t4_time_ms(int block, int tile, int unroll) {
  const double size = std::log2(static_cast<double>(block) * tile);
  const double time = 1 + 0.3 * (size - 8.3) * (size - 8.3) + 0.05 * std::abs(tile - 4) + 0.03 * unroll;
  return block % 32 == 0 ? time : 1.3 * time;
}

inline std::string t4_text(const T4Options& options = {}) {
  std::string results;
  for (int block = 16; block <= 16 * options.block_sizes; block += 16) {
    for (int tile = 1; tile <= options.tiles; ++tile) {
      for (int unroll = 0; unroll < options.unrolls; ++unroll) {
        const bool fails = options.fails(block, tile);
        results += fmt::format(
            R"({}{{"configuration":{{"block":{},"tile":{},"unroll":{}}},"times":{{"compilation":{},"runtimes":[{}]}},)"
            R"("invalidity":"{}","measurements":[{{"name":"time","value":{},"unit":"ms"}}],"objectives":["time"]}})",
            results.empty() ? "" : ",", block, tile, unroll, 500 + 10 * tile, 40,
            fails ? "runtime" : "correct", fails ? 0 : t4_time_ms(block, tile, unroll));
      }
    }
  }
  return fmt::format(R"({{"schema_version":"1.0.0","results":[{}]}})", results);
}

inline std::filesystem::path write_text(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
  return file;
}

inline std::filesystem::path write_gzip(const std::filesystem::path& file, const std::string& text) {
  const auto opened = gzopen(file.c_str(), "wb");
  gzwrite(opened, text.data(), static_cast<unsigned>(text.size()));
  gzclose(opened);
  return file;
}

}  // namespace fcsa::tuner::testing
