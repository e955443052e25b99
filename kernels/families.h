// Constructors of the families in this build; kernels/families.cpp lists them.
#pragma once

#include <memory>

#include "kernels/family.h"

namespace fcsa::kernels {

std::unique_ptr<Family> make_wgmma_family();
std::unique_ptr<Family> make_mma_family();
std::unique_ptr<Family> make_simt_family();          // CUDA cores, f32 arithmetic, sm_75 and later
std::unique_ptr<Family> make_cpu_family();           // vectorised f32 arithmetic on all cores
std::unique_ptr<Family> make_unfused_cuda_family();  // scores in memory: the yardstick of the reports
std::unique_ptr<Family> make_unfused_cpu_family();

}  // namespace fcsa::kernels
