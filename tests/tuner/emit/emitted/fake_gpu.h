// A GPU that isn't there: what a program asks of CUDA is recorded. fake_runtime.cpp stands in for the CUDA
// runtime, fake_driver.cpp for the driver.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "expectations.h"

struct FakeGpu {
  struct Launch {
    std::string kernel;  // mangled
    unsigned grid_x, grid_y, grid_z, threads;
    std::size_t smem_bytes;
    CUstream stream;
    bool cooperative = false;
  };

  int device = 0, major = 9, minor = 0, multiprocessors = 132;
  int cluster_width = 0, cluster_height = 0;  // that kernels were compiled for
  int large_clusters_allowed = 0;             // of more than 8 blocks, by calls
  std::vector<Launch> launches;
  int maps_encoded = 0;

  // Of the driver.
  bool has_context = true;
  CUresult load_result = CUDA_SUCCESS;
  int loads = 0, strict_loads = 0;  // strict: another thread's capture of a stream would have failed
  bool relaxed = false;
};

FakeGpu& fake_gpu();

// Values of device attributes, whose numbers the runtime and the driver share.
inline int fake_attribute(int which) {
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      return fake_gpu().major;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      return fake_gpu().minor;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      return fake_gpu().multiprocessors;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      return 227 << 10;
    default:
      return 0;
  }
}

// Whatever axis of the grid their blocks are along. A kernel asks once for each device: each case has its
// own.
template <typename Attention>
void expect_clusters_of_more_than_eight_to_be_asked_for(const Attention& attention) {
  int device = 1;
  for (const auto& [width, height] : {std::pair{16, 1}, {1, 16}, {8, 1}, {1, 8}, {0, 0}}) {
    fake_gpu() = {};
    fake_gpu().device = device++;
    fake_gpu().cluster_width = width;
    fake_gpu().cluster_height = height;
    expect(forward(attention, no_memory(), nullptr).ok(), "forward");
    expect((fake_gpu().large_clusters_allowed > 0) == (width * height > 8),
           std::to_string(width) + " x " + std::to_string(height) + " blocks");
  }
}
