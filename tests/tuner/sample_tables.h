// Dispatch tables made up for tests: two configurations chosen by length, for each class.
#pragma once

#include <string>

#include "tuner/dispatch.h"

namespace fcsa::tuner {

// simt, f32, head dim 64, full and causal, on an imaginary device of this architecture ("sm_90a").
DispatchTable simt_table(const std::string& arch);
// wgmma, bf16, head dim 64, causal, on an imaginary device of architecture sm_90a.
DispatchTable wgmma_table();
// cpu, on this machine: f32 head dim 64 full, causal, and with bias and scale per head; bf16 and f16 head
// dim 32.
DispatchTable cpu_table();

}  // namespace fcsa::tuner
