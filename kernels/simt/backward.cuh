// Backward pass on the CUDA cores, in f32 whatever the storage: exact, for every GPU from sm_75 on. Kernels,
// in order:
//   prepare              norms of q and k, sums of dout * o; with groups the normalised q and k
//   grad_keys            dk, dv            grad_queries             dq
//   grad_bias_and_scale  dbias, dscale, where they are wanted
#pragma once

#include "kernels/simt/backward_config.h"
#include "kernels/simt/backward_prepare.cuh"
#include "kernels/simt/grad_bias.cuh"
#include "kernels/simt/grad_keys.cuh"
#include "kernels/simt/grad_queries.cuh"
