// A CUDA driver for tests on machines without a GPU: it has two H100s, keeps account of what it is asked for,
// and runs nothing. FCSA_LIBCUDA names the file that it is built into.
#pragma once

#include <cuda.h>

#include <vector>

#include "kernels/common/backward.h"
#include "kernels/common/key_lengths.h"

namespace fake_cuda {

// Contexts 0 and 1 are on device 0, context 2 on device 1.
CUcontext context(int index);
void make_current(CUcontext context);
CUcontext current();
// What cudaDeviceReset does: the handle stays, the context is another one.
void reset(CUcontext context);

// A stream of a context, any address.
void capture(CUstream stream);  // launches on it become part of a graph
void end_captures();

struct Launch {
  CUcontext context;
  CUstream stream;
  fcsa::kernels::BackwardArgs args;  // of forward kernels too: what they take is a part of it
  bool writes_mask = false;          // from these in place of args
  fcsa::kernels::KeyLengths lengths = {};
};
const std::vector<Launch>& launches();
void forget_launches();
// Modules that were loaded, and those of them for which captures of other threads were endangered.
int modules_loaded();
int modules_loaded_unsafely();

}  // namespace fake_cuda
