// All of these may be called from any thread.

// Instruction sets that the kernels are compiled for.
enum class Isa : int { generic, avx2, avx512 };

// The best of them that this processor runs; asked once.
Isa best_isa();

// Memory that forward() needs besides the tensors; often zero. Depends on the sizes, and on whether lse is
// null. Zero for a problem that forward() would refuse.
std::size_t workspace_bytes(const Attention& attention, Isa isa = best_isa());

// Runs on all cores and returns when it is done. `workspace` is aligned to 256 bytes, and used by one call at
// a time; null when workspace_bytes() is zero.
Status forward(const Attention& attention, void* workspace = nullptr, Isa isa = best_isa());

// Looks at sizes and flags only.
Selection describe(const Attention& attention, Isa isa = best_isa());
