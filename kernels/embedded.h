// Kernel sources inside the program (written by cmake/embed.cmake).
#pragma once

#include <string>
#include <vector>

namespace fcsa::kernels {

struct EmbeddedFile {
  std::string path;  // relative to the source tree: "kernels/simt/forward.cuh"
  std::string text;
};

const std::vector<EmbeddedFile>& embedded_files();

}  // namespace fcsa::kernels
