// What ptxas says about a compilation (`--ptxas-options=-v`).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tuner/trials/trial.h"

namespace fcsa::runner::cuda {

struct PtxasFindings {
  // The largest of all functions in the log; spill_bytes is stores plus loads; smem_bytes is static shared
  // memory.
  tuner::Resources resources;
  // Code and text of what disqualifies a kernel, each once: wgmma serialised or waited for by the compiler
  // (C7508 to C7517). "C7512: Potential Performance Loss: wgmma.mma_async instructions are serialized due to
  // ..."
  std::vector<std::string> warnings;
};

PtxasFindings parse_ptxas_log(std::string_view log);

}  // namespace fcsa::runner::cuda
