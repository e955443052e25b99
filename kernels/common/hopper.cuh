// Instructions of sm_90a, each wrapped once: mbarriers, TMA copies, wgmma, register reallocation.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/ptx.cuh"

namespace fcsa::kernels::hopper {

// Barriers in shared memory that count arrivals and bytes of copies; waits name the parity of the phase that
// must be over.
FCSA_DEVICE void barrier_init(unsigned barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Makes initialised barriers visible to copies and to the other blocks of a cluster.
FCSA_DEVICE void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

FCSA_DEVICE void barrier_arrive(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// At the same place in the shared memory of another block of the cluster. Not with the scope of the cluster,
// whose fence would cost more than the copies that are shared save: what it says is that wgmma, which has
// been waited for, has read.
FCSA_DEVICE void barrier_arrive_remote(unsigned barrier, unsigned block) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(
                   ptx::cluster_address(barrier, static_cast<int>(block)))
               : "memory");
}

// One arrival, and `bytes` that copies are still to bring.
FCSA_DEVICE void barrier_expect(unsigned barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

FCSA_DEVICE void barrier_wait(unsigned barrier, unsigned parity) {
  asm volatile(
      "{\n.reg .pred done;\nAGAIN:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra OVER;\nbra AGAIN;\nOVER:\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// Whether the phase of that parity is over, without waiting.
FCSA_DEVICE bool barrier_has_passed(unsigned barrier, unsigned parity) {
  unsigned passed;
  asm volatile(
      "{.reg .pred done; mbarrier.test_wait.parity.shared::cta.b64 done, [%1], %2; selp.u32 %0, 1, 0, done;}"
      : "=r"(passed)
      : "r"(barrier), "r"(parity)
      : "memory");
  return passed != 0;
}

// Hardware barriers by number (1 to 15), for `threads` threads that sync or arrive.
FCSA_DEVICE void named_barrier_sync(int number, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
FCSA_DEVICE void named_barrier_arrive(int number, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

FCSA_DEVICE unsigned cluster_rank() {
  unsigned rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// Ordinary writes to shared memory before it, TMA or wgmma reads after it.
FCSA_DEVICE void fence_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// What was seen in global memory before it, copies from there after it.
FCSA_DEVICE void fence_async_global() {
  asm volatile("fence.proxy.async.global;" ::: "memory");
}

// Four 8 x 8 matrices of 16-bit elements to shared memory, where ptx::load_matrices has them from.
FCSA_DEVICE void store_matrices(unsigned address, const uint4& words) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
               "r"(words.x), "r"(words.y), "r"(words.z), "r"(words.w)
               : "memory");
}

// Of 8 bf16 the sums of squares of those in the low halves and of those in the high halves, each rounded to
// bf16 four times: half the instructions of sums in f32. f16 has not the range for it. What it costs 1/|k|,
// of 2^-8: 0.1 rms for normal keys of 64 to 128 channels, less than the rounding of normalised keys would;
// 0.7 where all channels are alike and their square rounds badly; 1.9 at most, where a channel's square
// absorbs those of the other three.
FCSA_DEVICE unsigned squares_of_pairs(const uint4& words) {
  unsigned sums;
  asm("mul.rn.bf16x2 %0, %1, %1;" : "=r"(sums) : "r"(words.x));
  asm("fma.rn.bf16x2 %0, %1, %1, %0;" : "+r"(sums) : "r"(words.y));
  asm("fma.rn.bf16x2 %0, %1, %1, %0;" : "+r"(sums) : "r"(words.z));
  asm("fma.rn.bf16x2 %0, %1, %1, %0;" : "+r"(sums) : "r"(words.w));
  return sums;
}

// Gives registers to or takes them from the pool of the block: executed by whole warpgroups.
template <int registers>
FCSA_DEVICE void keep_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
FCSA_DEVICE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

// Copies of the tensor memory accelerator. `map` is a tensor map in parameter memory.
FCSA_DEVICE void prefetch_map(const void* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// A box of a tensor of rank 4 or 5 to shared memory; what lies outside of the tensor becomes zero and counts
// as copied. Coordinates in elements, innermost first.
FCSA_DEVICE void copy_box(unsigned to, const void* map, unsigned barrier, int c0, int c1, int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, "
      "%6}], [%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}
FCSA_DEVICE void copy_box(unsigned to, const void* map, unsigned barrier, int c0, int c1, int c2, int c3,
                          int c4) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, "
      "%6, %7}], [%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
      : "memory");
}
// To the same place in every block of the cluster in `blocks`, whose barriers at that place it counts on.
FCSA_DEVICE void copy_box_multicast(unsigned to, const void* map, unsigned barrier, unsigned short blocks,
                                    int c0, int c1, int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%4, %5, %6, %7}], [%2], %3;" ::"r"(to),
      "l"(map), "r"(barrier), "h"(blocks), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}

// A box from shared memory to a tensor of rank 4 or 5; what lies outside of it isn't written. Copies of a
// thread since the last commit are a group; the shared memory may be written again when its groups have been
// read, and must last until then.
FCSA_DEVICE void store_box(const void* map, unsigned from, int c0, int c1, int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map),
      "r"(from), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}
FCSA_DEVICE void store_box(const void* map, unsigned from, int c0, int c1, int c2, int c3, int c4) {
  asm volatile(
      "cp.async.bulk.tensor.5d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5, %6}], [%1];" ::"l"(map),
      "r"(from), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
      : "memory");
}
FCSA_DEVICE void store_commit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
FCSA_DEVICE void wait_until_stores_have_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

// wgmma: d (64 x n, f32) += a (64 x 16) b (16 x n) for a warpgroup. Of d, lane 4 * g + t of warp w holds rows
// 16 w + g and 16 w + g + 8 at columns 8 i + 2 t and 8 i + 2 t + 1, in the order of the accumulators of
// mma.m16n8k16; a in registers is that fragment of mma.m16n8k16.
FCSA_DEVICE void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
FCSA_DEVICE void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int pending>
FCSA_DEVICE void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

// Keeps the compiler from moving uses of registers across this point, where it can't see that wgmma writes
// them.
template <int n>
FCSA_DEVICE void pin(float (&registers)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+f"(registers[i])::"memory");
}
template <int n>
FCSA_DEVICE void pin(unsigned (&registers)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+r"(registers[i])::"memory");
}

// Over the lanes of a warp; the result is in a uniform register.
FCSA_DEVICE unsigned reduce_or(unsigned word) {
  unsigned all;
  asm volatile("redux.sync.or.b32 %0, %1, 0xffffffff;" : "=r"(all) : "r"(word));
  return all;
}

// Descriptor of an operand in shared memory whose rows of `row_bytes` (128, 64 or 32) are swizzled at that
// width, 8 rows to a pattern. Leading offset: between panels of row_bytes along the dimension that is
// contiguous in memory; only an operand that is read transposed has several. Both are in its low word.
FCSA_DEVICE constexpr unsigned long long operand_high(int row_bytes) {
  const unsigned long long swizzle = row_bytes == 128 ? 1 : row_bytes == 64 ? 2 : 3;
  return static_cast<unsigned long long>(8 * row_bytes >> 4) << 32 | swizzle << 62;
}
FCSA_DEVICE unsigned long long operand(unsigned address, int row_bytes, int leading_bytes) {
  return static_cast<unsigned long long>((address & 0x3ffffu) >> 4) |
         static_cast<unsigned long long>(leading_bytes >> 4) << 16 | operand_high(row_bytes);
}

// clang-format off
#define FCSA_SMEM_REGISTERS_8 "%3,%4,%5,%6,%7,%8,%9,%10"
#define FCSA_SMEM_REGISTERS_16 FCSA_SMEM_REGISTERS_8 ",%11,%12,%13,%14,%15,%16,%17,%18"
#define FCSA_SMEM_REGISTERS_24 FCSA_SMEM_REGISTERS_16 ",%19,%20,%21,%22,%23,%24,%25,%26"
#define FCSA_SMEM_REGISTERS_32 FCSA_SMEM_REGISTERS_24 ",%27,%28,%29,%30,%31,%32,%33,%34"
#define FCSA_SMEM_REGISTERS_40 FCSA_SMEM_REGISTERS_32 ",%35,%36,%37,%38,%39,%40,%41,%42"
#define FCSA_SMEM_REGISTERS_48 FCSA_SMEM_REGISTERS_40 ",%43,%44,%45,%46,%47,%48,%49,%50"
#define FCSA_SMEM_REGISTERS_56 FCSA_SMEM_REGISTERS_48 ",%51,%52,%53,%54,%55,%56,%57,%58"
#define FCSA_SMEM_REGISTERS_64 FCSA_SMEM_REGISTERS_56 ",%59,%60,%61,%62,%63,%64,%65,%66"
#define FCSA_SMEM_REGISTERS_72 FCSA_SMEM_REGISTERS_64 ",%67,%68,%69,%70,%71,%72,%73,%74"
#define FCSA_SMEM_REGISTERS_80 FCSA_SMEM_REGISTERS_72 ",%75,%76,%77,%78,%79,%80,%81,%82"
#define FCSA_SMEM_REGISTERS_88 FCSA_SMEM_REGISTERS_80 ",%83,%84,%85,%86,%87,%88,%89,%90"
#define FCSA_SMEM_REGISTERS_96 FCSA_SMEM_REGISTERS_88 ",%91,%92,%93,%94,%95,%96,%97,%98"
#define FCSA_SMEM_REGISTERS_104 FCSA_SMEM_REGISTERS_96 ",%99,%100,%101,%102,%103,%104,%105,%106"
#define FCSA_SMEM_REGISTERS_112 FCSA_SMEM_REGISTERS_104 ",%107,%108,%109,%110,%111,%112,%113,%114"
#define FCSA_SMEM_REGISTERS_120 FCSA_SMEM_REGISTERS_112 ",%115,%116,%117,%118,%119,%120,%121,%122"
#define FCSA_SMEM_REGISTERS_128 FCSA_SMEM_REGISTERS_120 ",%123,%124,%125,%126,%127,%128,%129,%130"
#define FCSA_RF_REGISTERS_8 "%6,%7,%8,%9,%10,%11,%12,%13"
#define FCSA_RF_REGISTERS_12 FCSA_RF_REGISTERS_8 ",%14,%15,%16,%17"
#define FCSA_RF_REGISTERS_16 FCSA_RF_REGISTERS_8 ",%14,%15,%16,%17,%18,%19,%20,%21"
#define FCSA_RF_REGISTERS_20 FCSA_RF_REGISTERS_16 ",%22,%23,%24,%25"
#define FCSA_RF_REGISTERS_24 FCSA_RF_REGISTERS_16 ",%22,%23,%24,%25,%26,%27,%28,%29"
#define FCSA_RF_REGISTERS_32 FCSA_RF_REGISTERS_24 ",%30,%31,%32,%33,%34,%35,%36,%37"
#define FCSA_RF_REGISTERS_36 FCSA_RF_REGISTERS_32 ",%38,%39,%40,%41"
#define FCSA_RF_REGISTERS_40 FCSA_RF_REGISTERS_32 ",%38,%39,%40,%41,%42,%43,%44,%45"
#define FCSA_RF_REGISTERS_48 FCSA_RF_REGISTERS_40 ",%46,%47,%48,%49,%50,%51,%52,%53"
#define FCSA_RF_REGISTERS_56 FCSA_RF_REGISTERS_48 ",%54,%55,%56,%57,%58,%59,%60,%61"
#define FCSA_RF_REGISTERS_64 FCSA_RF_REGISTERS_56 ",%62,%63,%64,%65,%66,%67,%68,%69"
#define FCSA_RF_REGISTERS_72 FCSA_RF_REGISTERS_64 ",%70,%71,%72,%73,%74,%75,%76,%77"
#define FCSA_RF_REGISTERS_80 FCSA_RF_REGISTERS_72 ",%78,%79,%80,%81,%82,%83,%84,%85"
#define FCSA_RF_REGISTERS_88 FCSA_RF_REGISTERS_80 ",%86,%87,%88,%89,%90,%91,%92,%93"
#define FCSA_RF_REGISTERS_96 FCSA_RF_REGISTERS_88 ",%94,%95,%96,%97,%98,%99,%100,%101"
#define FCSA_RF_REGISTERS_104 FCSA_RF_REGISTERS_96 ",%102,%103,%104,%105,%106,%107,%108,%109"
#define FCSA_RF_REGISTERS_112 FCSA_RF_REGISTERS_104 ",%110,%111,%112,%113,%114,%115,%116,%117"
#define FCSA_RF_REGISTERS_120 FCSA_RF_REGISTERS_112 ",%118,%119,%120,%121,%122,%123,%124,%125"
#define FCSA_RF_REGISTERS_128 FCSA_RF_REGISTERS_120 ",%126,%127,%128,%129,%130,%131,%132,%133"
#define FCSA_OPERANDS_8 "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
#define FCSA_OPERANDS_12 FCSA_OPERANDS_8, "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11])
#define FCSA_OPERANDS_16 FCSA_OPERANDS_8, "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
#define FCSA_OPERANDS_20 FCSA_OPERANDS_16, "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19])
#define FCSA_OPERANDS_24 FCSA_OPERANDS_16, "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23])
#define FCSA_OPERANDS_32 FCSA_OPERANDS_24, "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define FCSA_OPERANDS_36 FCSA_OPERANDS_32, "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35])
#define FCSA_OPERANDS_40 FCSA_OPERANDS_32, "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39])
#define FCSA_OPERANDS_48 FCSA_OPERANDS_40, "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47])
#define FCSA_OPERANDS_56 FCSA_OPERANDS_48, "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55])
#define FCSA_OPERANDS_64 FCSA_OPERANDS_56, "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
#define FCSA_OPERANDS_72 FCSA_OPERANDS_64, "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71])
#define FCSA_OPERANDS_80 FCSA_OPERANDS_72, "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79])
#define FCSA_OPERANDS_88 FCSA_OPERANDS_80, "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87])
#define FCSA_OPERANDS_96 FCSA_OPERANDS_88, "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95])
#define FCSA_OPERANDS_104 FCSA_OPERANDS_96, "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103])
#define FCSA_OPERANDS_112 FCSA_OPERANDS_104, "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111])
#define FCSA_OPERANDS_120 FCSA_OPERANDS_112, "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119])
#define FCSA_OPERANDS_128 FCSA_OPERANDS_120, "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])

// SHAPE: columns. REGISTERS: accumulators of a thread, half as many.
#define FCSA_WGMMA_SMEM(SHAPE, REGISTERS, TYPE) \
  asm volatile("{.reg .pred p; setp.ne.b32 p, %2, 0; wgmma.mma_async.sync.aligned.m64n" #SHAPE "k16.f32." TYPE "." TYPE \
               " {" FCSA_SMEM_REGISTERS_##REGISTERS "}, %0, %1, p, 1, 1, 0, 0;}" \
               : "+l"(a), "+l"(b), "+r"(add), FCSA_OPERANDS_##REGISTERS)
#define FCSA_WGMMA_RF(SHAPE, REGISTERS, TYPE, TRANSPOSED) \
  asm volatile("{.reg .pred p; setp.ne.b32 p, %5, 0; wgmma.mma_async.sync.aligned.m64n" #SHAPE "k16.f32." TYPE "." TYPE \
               " {" FCSA_RF_REGISTERS_##REGISTERS "}, {%0, %1, %2, %3}, %4, p, 1, 1, " TRANSPOSED ";}" \
               : "+r"(a0), "+r"(a1), "+r"(a2), "+r"(a3), "+l"(b), "+r"(add), FCSA_OPERANDS_##REGISTERS)
// Inputs are written as "+" so that their numbers don't depend on the number of accumulators.
#define FCSA_WGMMA_WITH_SMEM(SHAPE, REGISTERS) \
    template <DType dtype> \
    FCSA_DEVICE static void smem(float (&d)[REGISTERS], unsigned long long a, unsigned long long b, int add) { \
      if constexpr (dtype == DType::bf16) { FCSA_WGMMA_SMEM(SHAPE, REGISTERS, "bf16"); } \
      else { FCSA_WGMMA_SMEM(SHAPE, REGISTERS, "f16"); } \
    }
#define FCSA_WGMMA_WITH_REGISTERS(SHAPE, REGISTERS) \
    template <DType dtype, bool transposed> \
    FCSA_DEVICE static void registers(float (&d)[REGISTERS], unsigned a0, unsigned a1, unsigned a2, unsigned a3, \
                                      unsigned long long b, int add) { \
      if constexpr (dtype == DType::bf16 && transposed) { FCSA_WGMMA_RF(SHAPE, REGISTERS, "bf16", "1"); } \
      else if constexpr (dtype == DType::bf16) { FCSA_WGMMA_RF(SHAPE, REGISTERS, "bf16", "0"); } \
      else if constexpr (transposed) { FCSA_WGMMA_RF(SHAPE, REGISTERS, "f16", "1"); } \
      else { FCSA_WGMMA_RF(SHAPE, REGISTERS, "f16", "0"); } \
    }
#define FCSA_WGMMA_INSTANCE(SHAPE, REGISTERS) \
  template <> struct Wgmma<SHAPE> { \
    FCSA_WGMMA_WITH_SMEM(SHAPE, REGISTERS) \
    FCSA_WGMMA_WITH_REGISTERS(SHAPE, REGISTERS) \
  }
#define FCSA_WGMMA_REGISTERS_INSTANCE(SHAPE, REGISTERS) \
  template <> struct Wgmma<SHAPE> { FCSA_WGMMA_WITH_REGISTERS(SHAPE, REGISTERS) }

// smem: a and b by descriptors, both with the 16 channels of the sum contiguous. registers: a in registers, b
// by descriptor, `transposed` where its n columns are contiguous. add: 0 overwrites d.
template <int n>
struct Wgmma;
FCSA_WGMMA_INSTANCE(16, 8);
FCSA_WGMMA_REGISTERS_INSTANCE(24, 12);
FCSA_WGMMA_INSTANCE(32, 16);
FCSA_WGMMA_REGISTERS_INSTANCE(40, 20);
FCSA_WGMMA_INSTANCE(48, 24);
FCSA_WGMMA_INSTANCE(64, 32);
FCSA_WGMMA_REGISTERS_INSTANCE(72, 36);
FCSA_WGMMA_INSTANCE(80, 40);
FCSA_WGMMA_INSTANCE(96, 48);
FCSA_WGMMA_INSTANCE(112, 56);
FCSA_WGMMA_INSTANCE(128, 64);
FCSA_WGMMA_INSTANCE(144, 72);
FCSA_WGMMA_INSTANCE(160, 80);
FCSA_WGMMA_INSTANCE(176, 88);
FCSA_WGMMA_INSTANCE(192, 96);
FCSA_WGMMA_INSTANCE(208, 104);
FCSA_WGMMA_INSTANCE(224, 112);
FCSA_WGMMA_INSTANCE(240, 120);
FCSA_WGMMA_INSTANCE(256, 128);
// clang-format on

// Where a byte of a tile of rows of `row_bytes` is, given where it would be without swizzling: the 16-byte
// pieces of a row are permuted by its place among the rows of a pattern. From a multiple of the pattern on.
template <int row_bytes>
FCSA_DEVICE unsigned swizzled(unsigned offset) {
  return offset ^ (offset >> 3 & (row_bytes - 16));
}

}  // namespace fcsa::kernels::hopper
