// All of these may be called from any thread.

// Instruction sets that the kernels are compiled for.
enum class Isa : int { generic, avx2, avx512 };

// The best of them that this processor runs.
Isa best_isa();

// Memory that a call needs besides the tensors; often zero. Depends on the sizes, and on which pointers are
// null. Zero for a problem that would be refused.
std::size_t workspace_bytes(const Attention& attention, Op op = Op::forward, Isa isa = best_isa());

// Run on all cores and return when it is done. `workspace` is aligned to 256 bytes, and used by one call at
// a time; null when workspace_bytes() is zero.
Status forward(const Attention& attention, void* workspace = nullptr, Isa isa = best_isa());
Status backward(const Attention& attention, void* workspace = nullptr, Isa isa = best_isa());

// Writes the key_mask of padded batches, [batch, nk] dense: key j of batch b is visible where j < lengths[b].
void write_key_mask(const int* lengths, int batch, int nk, unsigned char* mask);

// Looks at sizes and flags only.
Selection describe(const Attention& attention, Op op = Op::forward, Isa isa = best_isa());
