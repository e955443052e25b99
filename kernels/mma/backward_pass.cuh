// One pass of the backward computation: a block owns rows of one side and walks over the rows of the other.
#pragma once

#include "kernels/common/logits.cuh"
#include "kernels/common/thread_index.cuh"
#include "kernels/mma/backward_prepare.cuh"
#include "kernels/mma/shared_rows.cuh"

namespace fcsa::kernels::mma {

// What a block computes. dk_dv owns keys and walks over the queries of all heads that read them; dq owns
// queries and walks over the keys; dbias owns a tile of the bias and walks over the batches and heads that
// share it.
enum class Pass { dk_dv, dq, dbias };

// The owned rows are those of K and V, or of Q and dO; the others' tiles pass through shared memory in
// stages. S and dP of a tile have owned rows as rows, so that what an accumulator holds of P and dS is the A
// fragment of the product that follows, and never leaves the registers.
//   P = exp2(S - lse)     dS = P (dP - delta) / (|q| |k|)     dV += P^T dO     dK += dS^T Q     dQ += dS K
template <Traits T, BackwardConfig C, Pass pass>
struct BackwardPass {
  static constexpr bool kOwnsKeys = pass == Pass::dk_dv;
  static constexpr PassShape kShape = kOwnsKeys ? C.keys() : C.queries();
  static constexpr bool kAddsDQ = C.dq == kAtomics && kOwnsKeys;
  static constexpr bool kNorms = C.uses_norms(T) && pass != Pass::dbias;  // dS has the norms as factors
  // Owned keys are normalised in shared memory: one product less for every element of S and of dS.
  static constexpr bool kRowNorms = C.uses_norms(T) && !kOwnsKeys;
  static constexpr int kThreads = kShape.threads(), kRowTiles = kShape.row_tiles, kRows = kShape.rows();
  static constexpr int kParts = kShape.parts, kBlock = kShape.block, kChunk = kShape.chunk;
  static constexpr int kChunks = kBlock / kParts / kChunk;  // of a warp
  static_assert(kChunks * kChunk * kParts == kBlock);
  static constexpr int kStages = kShape.stages;
  static constexpr int kStageBytes =
      pass == Pass::dbias ? C.bias_stage_bytes(T, kShape) : C.stage_bytes(T, kShape, kOwnsKeys);
  static constexpr int kOwnedBytes = C.rows_bytes(T, kRows, kOwnsKeys);
  static constexpr int kRowBytes = 2 * T.head_dim, kSteps = T.head_dim / 16, kChannelTiles = T.head_dim / 8;
  static constexpr int kTiles = kChunk / 8;  // of columns, in a chunk
  using Rows = SharedRows<kRowBytes>;
  using ScoreRows = SharedRows<2 * kBlock>;
  static constexpr int kBiasQueries = kOwnsKeys ? kBlock : kRows, kBiasKeys = kOwnsKeys ? kRows : kBlock;
  static constexpr int kBiasBytes = T.bias == Bias::f32 ? 4 : 2;
  using BiasRows = SharedRows<kBiasBytes * kBiasKeys>;
  static constexpr int kScoreBytes = kRows * ScoreRows::kPitch;
  using Scores = float[kRowTiles][kTiles][4];
  static constexpr int kPartTiles = kChannelTiles / kParts;
  static constexpr bool kExchange = kAddsDQ || kParts > 1;  // warps need each other's dS
  using Accumulator = float[kRowTiles][kPartTiles][4];

  const BackwardArgs& args;
  // Shared memory: the owned rows and the stages; then the scores that warps exchange, or the only tile of
  // the bias. In pass dbias every stage begins with owned rows.
  unsigned owned, stages, after_stages;
  int thread_index, warp, row_group, part, lane, g, t;
  int bias_head = 0;                 // of queries that are owned
  int batch, owned_head, first_row;  // owned rows: of a key/value head, or of a query head
  int shift;                         // causal: query i sees keys up to i + shift
  int seeing = 0;                    // first_seeing of the batch

  uint4 a1[kShape.resident ? kRowTiles : 1][kShape.resident ? kSteps : 1];
  uint4 a2[kShape.resident ? kRowTiles : 1][kShape.resident ? kSteps : 1];
  Accumulator of_scores, of_probabilities;

  FCSA_DEVICE BackwardPass(const BackwardArgs& all, unsigned shared)
      : args(all),
        owned(shared),
        stages(shared + (pass == Pass::dbias ? 0 : kOwnedBytes)),
        after_stages(stages + kStages * kStageBytes) {
    shift = args.nk - args.nq;
    locate();
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int c = 0; c < kPartTiles; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) of_scores[m][c][i] = of_probabilities[m][c][i] = 0;
  }

  // Done again for every chunk, from what the compiler takes for a new value: what follows from the number of
  // the thread is little work, but kept in registers it makes the accumulators spill, which on an H100 took 5
  // to 15% of the time.
  FCSA_DEVICE void locate() {
    thread_index = (C.read_index ? read_thread_index() : exchange_thread_index()) % kThreads;
    warp = thread_index / 32;
    row_group = warp % kShape.row_groups();
    part = warp / kShape.row_groups();
    lane = thread_index % 32;
    g = lane / 4;
    t = lane % 4;
  }

  FCSA_DEVICE int group_size() const {
    return static_cast<int>(static_cast<unsigned>(args.heads) / static_cast<unsigned>(args.kv_heads));
  }
  FCSA_DEVICE int walked_limit() const {
    return kOwnsKeys ? args.nq : args.nk;
  }
  FCSA_DEVICE bool shows(int b, int key) const {
    if constexpr (T.key_mask) return __ldg(args.key_mask + b * args.key_mask_stride + key) != 0;
    return true;
  }
  // The first query that sees a key: those that see none come before it, or are all.
  FCSA_DEVICE int first_seeing(int b) const {
    return first_seeing_query<T, C>(args, b);
  }
  FCSA_DEVICE int row_at(int m, int half) const {
    return first_row + row_group * kShape.warp_rows() + 16 * m + 8 * half + g;
  }

  // ---- what is loaded

  struct Source {
    const char* rows;  // of one head
    long long row_bytes;
  };
  FCSA_DEVICE static Source source(const void* tensor, const Strides& s, int batch, int head) {
    return {static_cast<const char*>(tensor) + 2 * (batch * s.batch + head * s.head), 2 * s.row};
  }
  // Those that were normalised first lie in the workspace.
  FCSA_DEVICE Source normalised(long long tensor, long long head, int rows) const {
    return {static_cast<const char*>(args.workspace) + tensor + head * rows * kRowBytes, kRowBytes};
  }
  FCSA_DEVICE Source keys_of(int b, int kv_head) const {
    if constexpr (C.normalised_before(T))
      return normalised(normalised_tensors(T, args).k, 1LL * b * args.kv_heads + kv_head, args.nk);
    return source(args.k, args.k_strides, b, kv_head);
  }
  FCSA_DEVICE Source values_of(int b, int kv_head) const {
    return source(args.v, args.v_strides, b, kv_head);
  }
  FCSA_DEVICE Source queries_of(int b, int head) const {
    if constexpr (C.normalised_before(T))
      return normalised(normalised_tensors(T, args).q, 1LL * b * args.heads + head, args.nq);
    return source(args.q, args.q_strides, b, head);
  }
  FCSA_DEVICE Source gradients_of(int b, int head) const {
    return source(args.dout, args.dout_strides, b, head);
  }

  // `rows` rows from `first` on, asynchronously, zero from `limit` on and where `is_there(row)` says so: what
  // nobody sees, and what sees nothing, is not read.
  template <int rows, typename IsThere>
  FCSA_DEVICE void load_rows(unsigned to, const Source& from, int first, int limit,
                             const IsThere& is_there) const;

  // Rows from `first` on of a key/value head or of a query head, and their numbers.
  template <bool keys, int rows>
  FCSA_DEVICE void load_side(unsigned to, int b, int head, int first) const;

  FCSA_DEVICE void load_owned(int b, int head) const;

  FCSA_DEVICE unsigned stage(int index) const {
    return stages + index % kStages * kStageBytes;
  }
  FCSA_DEVICE static unsigned second_tile(unsigned stage) {
    return stage + kBlock * Rows::kPitch;
  }
  FCSA_DEVICE static unsigned columns(unsigned stage) {
    return stage + 2 * kBlock * Rows::kPitch;
  }

  // Numbers of `rows` rows that follow each other, to columns `begin` to `end` - 1, from arrays that are a
  // distance apart. From row `limit` on, a multiple of 4, they are zero.
  template <int begin, int end, int rows>
  FCSA_DEVICE void load_numbers(unsigned to, const float* from, long long distance, int limit) const;

  // Not kept: the pointers would take registers of the accumulators.
  FCSA_DEVICE Numbers numbers() const {
    return Numbers::of<T, C>(args);
  }

  // A tile of the other side: rows from `first` on of a query head, or of a key/value head.
  FCSA_DEVICE void load_walked(unsigned to, int b, int head, int first) const;

  FCSA_DEVICE unsigned bias_tile(unsigned stage) const {
    return pass == Pass::dbias ? after_stages : stage + C.rows_bytes(T, kBlock, !kOwnsKeys);
  }

  // The bias of the owned rows and a tile of the other side, as rows of queries. Past the end anything does.
  FCSA_DEVICE void load_bias(unsigned to, int b, int head, int first) const;

  // 16 bytes of the bias, of which `count` elements exist.
  FCSA_DEVICE static void copy_elements(unsigned to, const char* from, int count);

  // A number of an owned row: read again for every chunk, since no register is left to keep it in.
  FCSA_DEVICE float owned_number(int slot, int m, int half) const {
    return ptx::load_shared(owned + 2 * kRows * Rows::kPitch +
                            4 * (kRows * slot + row_group * kShape.warp_rows() + 16 * m + 8 * half + g));
  }
  using RowNumbers = float[kRowTiles][2];
  FCSA_DEVICE void load_owned_numbers(int slot, RowNumbers& numbers) const {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) numbers[m][half] = owned_number(slot, m, half);
  }

  FCSA_DEVICE float2 column(unsigned stage, int slot, int first) const {
    return ptx::load_shared_2(columns(stage) + 4 * (kBlock * slot + first + 2 * t));
  }

  // K becomes k / |k|, all threads together.
  FCSA_DEVICE void normalise_keys() const;

  // Once the owned rows have arrived.
  FCSA_DEVICE void prepare_owned();

  FCSA_DEVICE uint4 shared_fragment(unsigned base, int m, int step) const {
    return ptx::load_matrices(
        Rows::rows_then_columns(base, row_group * kShape.warp_rows() + 16 * m, 2 * step, lane));
  }

  // ---- products

  // Adds owned rows times the rows of a chunk of a tile: S from the first tensors, dP from the second.
  template <int which>
  FCSA_DEVICE void multiply(unsigned tile, int first, Scores& s) const;

  // accumulator += factor * s times the rows of a chunk of a tile.
  FCSA_DEVICE void accumulate(unsigned tile, int first, const Scores& s, float factor,
                              Accumulator& accumulator) const;

  // The same for what warps that share rows have exchanged: all rows of the tile, and the channels of this
  // warp.
  FCSA_DEVICE void accumulate_shared(unsigned scores, unsigned tile, float factor,
                                     Accumulator& accumulator) const;

  FCSA_DEVICE static unsigned scaled(unsigned word, float factor) {
    const float2 x = ptx::unpack<T.dtype>(word);
    return ptx::pack<T.dtype>(x.x * factor, x.y * factor);
  }

  // accumulator += a times 16 rows of a tile.
  FCSA_DEVICE void add_product(unsigned tile, int row, const uint4 (&a)[kRowTiles],
                               Accumulator& accumulator) const;

  // ---- softmax and its gradient

  FCSA_DEVICE float scale_of(int head) const {
    return T.head_scale ? args.head_scale[head] : args.scale;
  }

  // Bias of 16 owned rows and two tiles of columns, as the accumulators of S have them: words {tile 0 rows g,
  // g + 8, tile 1 rows g, g + 8} of 16 bits, which is what ldmatrix gives, transposed where keys are the
  // rows.
  FCSA_DEVICE uint4 bias_words(unsigned tile, int m, int first) const;

  using BiasPair = float[kRowTiles][2][4];

  // The same as numbers, of tiles n and n + 1 of a chunk.
  FCSA_DEVICE void load_bias_pair(unsigned tile, int first, BiasPair& bias) const;

  FCSA_DEVICE bool hidden(int query, int key) const {
    return key >= args.nk || (T.causal && key > query + shift);
  }

  // Where in the problem a chunk is.
  struct Place {
    int b, head;  // of the queries
    int first;    // of the chunk, in rows of the other side
  };

  // S to P in place.
  template <bool edge>
  FCSA_DEVICE void probabilities(unsigned stage, int first, const Place& place, Scores& s) const;

  FCSA_DEVICE static float pick(const float2& pair, int side) {
    return side ? pair.y : pair.x;
  }

  // -delta, to which dP is added.
  FCSA_DEVICE void start_gradients(unsigned stage, int first, Scores& dp) const;

  // dP - delta to dS in place, with the norms that its products need.
  FCSA_DEVICE void score_gradients(unsigned stage, int first, const Scores& p, Scores& dp) const;

  // ---- the loop

  // Of the owned keys. By the whole block.
  FCSA_DEVICE bool owns_anything_shown() const {
    if constexpr (!T.key_mask || !kOwnsKeys) return true;
    bool any = false;
    for (int row = static_cast<int>(threadIdx.x); row < kRows; row += kThreads)
      any = any || (first_row + row < args.nk && shows(batch, first_row + row));
    return __syncthreads_or(any);
  }
  // Whether the mask hides all keys of a tile; every warp finds the same.
  FCSA_DEVICE bool hides_all(unsigned tile) const {
    if constexpr (!T.key_mask || kOwnsKeys || pass == Pass::dbias) return false;
    bool any = false;
#pragma unroll
    for (int key = 0; key < kBlock; key += 32)
      any = any || (key + lane < kBlock && ptx::load_shared(columns(tile) + 4 * (kBlock + key + lane)) == 0);
    return !__any_sync(0xffffffffu, any);
  }

  // First and one past the last row of the other side that any of the owned rows meets.
  FCSA_DEVICE int walk_begin() const {
    return T.causal && kOwnsKeys ? min(max(0, first_row - shift), args.nq) / kBlock * kBlock : 0;
  }
  FCSA_DEVICE int walk_end() const {
    if (!T.causal || kOwnsKeys) return walked_limit();
    return min(args.nk, max(0, min(first_row + kRows, args.nq) + shift));
  }

  // Whether a warp's rows and a chunk have pairs that don't count, and whether they have others.
  FCSA_DEVICE bool has_edge(int first) const {
    const int row = first_row + row_group * kShape.warp_rows();
    if constexpr (kOwnsKeys) {
      const int last_key = row + kShape.warp_rows() - 1;
      return last_key >= args.nk || (T.causal && last_key > first + shift);
    } else {
      const int last_key = first + kChunk - 1;
      return last_key >= args.nk || (T.causal && last_key > row + shift);
    }
  }
  FCSA_DEVICE bool all_hidden(int first) const {
    if (!T.causal) return false;
    const int row = first_row + row_group * kShape.warp_rows();
    return kOwnsKeys ? row > first + kChunk - 1 + shift : first > row + kShape.warp_rows() - 1 + shift;
  }

  // One scale for all heads is left to the end, as is that of the only head.
  FCSA_DEVICE float gradient_factor(int head) const {
    return T.head_scale && kOwnsKeys && group_size() > 1 ? args.head_scale[head] : 1.0f;
  }

  template <bool edge>
  FCSA_DEVICE void compute_chunk(unsigned tile, unsigned buffer, int first, const Place& place) {
    Scores p;
    for_all(p, [](float) { return 0.0f; });
    multiply<0>(tile, first, p);
    probabilities<edge>(tile, first, place, p);
    if constexpr (kOwnsKeys) accumulate(second_tile(tile), first, p, 1.0f, of_probabilities);
    if constexpr (kParts > 1) store_scores(buffer + kScoreBytes, first, p);
    Scores ds;
    start_gradients(tile, first, ds);
    multiply<1>(second_tile(tile), first, ds);
    score_gradients(tile, first, p, ds);
    if constexpr (kExchange) store_scores(buffer, first, ds);
    accumulate(tile, first, ds, gradient_factor(place.head), of_scores);
  }

  template <typename Function>
  FCSA_DEVICE static void for_all(Scores& s, const Function& function) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int n = 0; n < kTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) s[m][n][i] = function(s[m][n][i]);
  }

  // Everything of a tile that a warp does for itself; dS and P for the others to a buffer.
  FCSA_DEVICE void compute_scores(unsigned tile, unsigned buffer, const Place& place) {
#pragma unroll 1
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      locate();
      const int first = (part * kChunks + chunk) * kChunk;
      const Place at{place.b, place.head, place.first + first};
      if (all_hidden(at.first)) {
        if constexpr (kExchange) {
          Scores none;
          for_all(none, [](float) { return 0.0f; });
          store_scores(buffer, first, none);
          if constexpr (kParts > 1) store_scores(buffer + kScoreBytes, first, none);
        }
      } else if (has_edge(at.first)) {
        compute_chunk<true>(tile, buffer, first, at);
      } else {
        compute_chunk<false>(tile, buffer, first, at);
      }
    }
  }

  // What needs dS and P of other warps.
  FCSA_DEVICE void use_scores(unsigned tile, unsigned buffer, const Place& place) {
    if constexpr (kParts > 1) {
      accumulate_shared(buffer + kScoreBytes, second_tile(tile), 1.0f, of_probabilities);
      accumulate_shared(buffer, tile, gradient_factor(place.head), of_scores);
    }
    if constexpr (kAddsDQ) add_dq(buffer, place);
  }

  // Walks over the tiles of the heads that read a key/value head, or of one key/value head. With one buffer
  // of scores there are two barriers a tile: the tile has arrived and nobody reads what is overwritten; the
  // scores are written. With two buffers and a third stage the second one does both, and warps drift apart by
  // up to a tile, so that the exponentials of some run beside the products of others.
  FCSA_DEVICE void walk() {
    constexpr bool kOneBarrier = kExchange && C.score_buffers == 2;
    static_assert(!kOneBarrier || kStages >= 3);
    const int begin = walk_begin(), end = walk_end(), heads = kOwnsKeys ? group_size() : 1;
    const int count = owns_anything_shown() ? max(0, (end - begin + kBlock - 1) / kBlock) * heads : 0;
    const int first_head = kOwnsKeys ? owned_head * heads : owned_head / group_size();
    Place loaded{batch, first_head, begin}, place{batch, kOwnsKeys ? first_head : owned_head, begin};
    const auto advance = [&](Place& at) {
      at.first += kBlock;
      if (at.first < end) return;
      at.first = begin;
      ++at.head;
    };
    const auto load = [&](int index) {
      if (index < count) {
        load_walked(stage(index), batch, loaded.head, loaded.first);
        advance(loaded);
      }
      ptx::copy_async_commit();  // even an empty group, so that the waits always count the same number
    };
    bias_head = owned_head;
    seeing = first_seeing(batch);
    load_owned(batch, owned_head);
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) load(i);
    if constexpr (kStages == 1) ptx::copy_async_commit();
    ptx::copy_async_wait<(kStages == 1 ? 0 : kStages - 2)>();
    __syncthreads();
    prepare_owned();
#pragma unroll 1
    for (int i = 0; i < count; ++i, advance(place)) {
      if constexpr (kStages == 1) {
        __syncthreads();
        load(i);
        ptx::copy_async_wait<0>();
        __syncthreads();
      } else if constexpr (!kOneBarrier) {
        ptx::copy_async_wait<kStages - 2>();
        __syncthreads();  // this tile has arrived, and everybody is done with the stage that is loaded next
        load(i + kStages - 1);
      }
      const unsigned buffer = after_stages + (kOneBarrier ? i % 2 : 0) * (kParts > 1 ? 2 : 1) * kScoreBytes;
      const bool skipped = hides_all(stage(i));
      if (!skipped) compute_scores(stage(i), buffer, place);
      if constexpr (kOneBarrier) ptx::copy_async_wait<(kStages >= 3 ? kStages - 3 : 0)>();
      if constexpr (kExchange) __syncthreads();
      if constexpr (kOneBarrier) load(i + kStages - 1);
      locate();
      if (!skipped) use_scores(stage(i), buffer, place);
    }
    ptx::copy_async_wait<0>();
    __syncthreads();  // shared memory is free
  }

  // ---- dQ by atomic additions

  FCSA_DEVICE void store_scores(unsigned scores, int first, const Scores& s) const {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int n = 0; n < kTiles; ++n)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const int row = row_group * kShape.warp_rows() + 16 * m + 8 * h, piece = first / 8 + n;
          ptx::store_shared(scores + ScoreRows::kPitch * row + ScoreRows::offset(0, g, 0, piece) + 4 * t,
                            ptx::pack<T.dtype>(s[m][n][2 * h], s[m][n][2 * h + 1]));
        }
  }

  // dQ of a tile of queries: dS of all owned keys, from shared memory, times K.
  FCSA_DEVICE void add_dq(unsigned buffer, const Place& place) const;
};

}  // namespace fcsa::kernels::mma
