// From the tensor maps of a launch plan to what the driver makes of them. For those who have included cuda.h.
#pragma once

#include "kernels/common/backward_maps.h"
#include "kernels/common/interface.h"

namespace fcsa::kernels {

struct EncodedMaps {
  CUresult error = CUDA_SUCCESS;  // of cuTensorMapEncodeTiled
  TensorMaps maps;                // as many as the plan has
};

// `encode` is cuTensorMapEncodeTiled, wherever the caller has it from; `args` are Args or BackwardArgs.
template <typename Arguments>
EncodedMaps encode_maps(decltype(&cuTensorMapEncodeTiled) encode, const LaunchPlan& plan,
                        const Arguments& args) {
  static_assert(sizeof(CUtensorMap) == sizeof(TensorMaps::map[0]));
  EncodedMaps encoded;
  for (int m = 0; m < plan.map_count && encoded.error == CUDA_SUCCESS; ++m) {
    const TensorMap& map = plan.maps[m];
    // A plan knows strides, not where the bias starts; its kernel then does without the map, too.
    if (map.tensor == TensorMap::bias && reinterpret_cast<unsigned long long>(start_of(map, args)) % 16 != 0)
      continue;
    cuuint64_t sizes[5], strides[4];
    cuuint32_t box[5], element_strides[5];
    for (int i = 0; i < map.rank; ++i) {
      sizes[i] = static_cast<cuuint64_t>(map.size[i]);
      box[i] = static_cast<cuuint32_t>(map.box[i]);
      element_strides[i] = 1;
      if (i > 0) strides[i - 1] = static_cast<cuuint64_t>(map.stride_bytes[i - 1]);
    }
    const auto swizzle = map.swizzle_bytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                         : map.swizzle_bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                   : CU_TENSOR_MAP_SWIZZLE_32B;
    encoded.error =
        encode(reinterpret_cast<CUtensorMap*>(encoded.maps.map[m]), CU_TENSOR_MAP_DATA_TYPE_UINT16,
               static_cast<cuuint32_t>(map.rank), const_cast<void*>(start_of(map, args)), sizes, strides, box,
               element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  }
  return encoded;
}

}  // namespace fcsa::kernels
