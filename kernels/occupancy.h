// How many blocks of a launch a multiprocessor of a GPU holds at a time.
#pragma once

#include <string>

#include "kernels/common/interface.h"
#include "kernels/target.h"

namespace fcsa::kernels {

struct Occupancy {
  int blocks = 0;          // of a multiprocessor
  double of_threads = 0;   // share of the threads that it could hold
  std::string limited_by;  // "threads", "registers", "shared memory" or "blocks"
};

// From the launch's threads and dynamic shared memory and the registers of a thread (0: unknown, not a
// limit). Limits of the CUDA programming guide for the compute capability; 64 K registers, shared memory with
// 1 KiB of the system's for each block. Precondition: a CUDA target.
Occupancy occupancy(const Target& target, const Launch& launch, int registers);

}  // namespace fcsa::kernels
