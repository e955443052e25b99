// Writes the key_mask of padded batches, [batch, nk] dense, on `stream`: key j of batch b is visible where j
// < lengths[b]. All three are read and written on the device; nothing waits.
Status write_key_mask(const int* lengths, int batch, int nk, unsigned char* mask, CUstream stream);

namespace detail {

// A template, since several files of a program may have it.
template <int kThreads>
__global__ void write_key_mask(const int* lengths, long long keys, int nk, unsigned char* mask) {
  const long long key = 1LL * blockIdx.x * kThreads + threadIdx.x;
  if (key < keys) mask[key] = key % nk < lengths[key / nk] ? 1 : 0;
}

}  // namespace detail

inline Status write_key_mask(const int* lengths, int batch, int nk, unsigned char* mask, CUstream stream) {
  constexpr int kThreads = 256;
  long long keys = 1LL * batch * nk;
  if (keys <= 0) return {};
  void* parameters[] = {&lengths, &keys, &nk, &mask};
  const detail::RelaxedCapture relaxed;
  const cudaError_t error = cudaLaunchKernel((const void*)detail::write_key_mask<kThreads>,
                                             dim3(static_cast<unsigned>((keys + kThreads - 1) / kThreads)),
                                             dim3(kThreads), parameters, 0, stream);
  return error == cudaSuccess ? Status{} : detail::cuda_failure("launch of the key mask", error);
}
