// All of these may be called from any thread. The current device, and its context, are those of `stream`.

// Device memory that a call needs besides the tensors; often zero. Depends on the sizes, on which pointers
// are null, and on the current device. Zero for a problem that would be refused.
std::size_t workspace_bytes(const Attention& attention, Op op = Op::forward);

// Launch on `stream` (a cudaStream_t is one) and return: nothing is allocated and nothing waits, so it can
// be captured into a CUDA graph. Every pointer is a device pointer and stays valid until the work is done.
// `workspace` is aligned to 256 bytes, and used by one call at a time; null when workspace_bytes() is zero.
Status forward(const Attention& attention, void* workspace, CUstream stream);
Status backward(const Attention& attention, void* workspace, CUstream stream);

// Looks at sizes and flags only. Without a GPU it answers for the one that was tuned.
Selection describe(const Attention& attention, Op op = Op::forward);
