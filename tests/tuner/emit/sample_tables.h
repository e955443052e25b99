// Dispatch tables made up for tests: two configurations chosen by length, for each class.
#pragma once

#include <string>

#include "tuner/emit/emit.h"

namespace fcsa::tuner {

// simt, f32, head dim 64, full and causal, on an imaginary device of this architecture ("sm_90a").
DispatchTable simt_table(const std::string& arch);
// wgmma, bf16, head dim 64, causal, on an imaginary device of architecture sm_90a.
DispatchTable wgmma_table();
// cpu, on this machine: f32 head dim 64 full, causal, and with bias and scale per head; bf16 and f16 head
// dim 32.
DispatchTable cpu_table();

// With a backward pass too. cpu: as above without causal and f16, with the gradients of bias and scale where
// there are such. simt: of the full attention. mma: next to wgmma's forward pass.
DispatchTable cpu_training_table();
DispatchTable simt_training_table(const std::string& arch);
DispatchTable wgmma_training_table();

// On this GPU, by the first family that serves it: every dtype, and every feature in one class at least; most
// of them backward too. With a mask, query heads that share key/value heads share a tile where the family can
// do that.
DispatchTable feature_table(const kernels::DeviceInfo& gpu);

// What `fcsa emit` would write of a table, with a provenance that is made up.
Emission emission_of(const DispatchTable& table, Serve serve = Serve::neighbours);

}  // namespace fcsa::tuner
