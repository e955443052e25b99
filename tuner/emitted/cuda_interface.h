// All of these may be called from any thread. The current device is the one that `stream` belongs to.

// Device memory that forward() needs besides the tensors; often zero. Depends on the sizes, and on whether
// lse is null. Zero for a problem that forward() would refuse.
std::size_t workspace_bytes(const Attention& attention);

// Launches on `stream` and returns: nothing is allocated and nothing waits, so it can be captured into a CUDA
// graph. Every pointer is a device pointer and stays valid until the work is done. `workspace` is aligned to
// 256 bytes, and used by one call at a time; null when workspace_bytes() is zero.
Status forward(const Attention& attention, void* workspace, cudaStream_t stream);

// Looks at sizes and flags only; needs no GPU.
Selection describe(const Attention& attention);
