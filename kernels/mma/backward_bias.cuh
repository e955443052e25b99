// The gradient of the bias: dS, summed over the batches and heads that share it.
#pragma once

#include "kernels/mma/backward_loads.cuh"
#include "kernels/mma/backward_pass.cuh"

namespace fcsa::kernels::mma {

// A block owns a tile of the bias, whose sum stays in registers, and walks over the batches and heads that
// share it, in their order.
template <Traits T, BackwardConfig C>
struct BiasGradient : BackwardPass<T, C, Pass::dbias> {
  using Block = BackwardPass<T, C, Pass::dbias>;
  using Block::args, Block::after_stages, Block::first_row, Block::thread_index;
  using Scores = typename Block::Scores;
  using BiasRows = typename Block::BiasRows;
  static constexpr PassShape kShape = Block::kShape;
  static constexpr int kStages = Block::kStages, kChunks = Block::kChunks;

  int bias_batch, first_head, heads, first_key;  // heads: that share the tile
  Scores sum[kChunks];

  FCSA_DEVICE BiasGradient(const BackwardArgs& all, unsigned shared, unsigned index) : Block(all, shared) {
    const unsigned key_tiles = (args.nk + kShape.block - 1) / kShape.block;
    const unsigned row_tiles = (args.nq + kShape.rows() - 1) / kShape.rows();
    first_key = index % key_tiles * kShape.block;
    index /= key_tiles;
    first_row = index % row_tiles * kShape.rows();
    index /= row_tiles;
    first_head = index % static_cast<unsigned>(args.bias_heads);
    bias_batch = index / static_cast<unsigned>(args.bias_heads);
    heads = args.bias_heads == 1 ? args.heads : 1;
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) Block::for_all(sum[chunk], [](float) { return 0.0f; });
  }

  // The walked tile of a stage, behind its owned rows.
  FCSA_DEVICE void select(int step) {
    this->owned = this->stage(step);
  }
  FCSA_DEVICE unsigned tile() const {
    return this->owned + Block::kOwnedBytes;
  }

  FCSA_DEVICE void run() {
    const bool visible = !T.causal || first_key <= min(first_row + kShape.rows(), args.nq) - 1 + this->shift;
    const int batches = visible ? (args.batch - bias_batch + args.bias_batch - 1) / args.bias_batch : 0;
    const int count = batches * heads;
    int loaded_batch = bias_batch, loaded_head = first_head;
    const auto load = [&](int step) {
      if (step < count) {
        select(step);
        this->load_owned(loaded_batch, loaded_head);
        this->load_walked(tile(), loaded_batch, loaded_head / this->group_size(), first_key);
        if (++loaded_head == first_head + heads) {
          loaded_head = first_head;
          loaded_batch += args.bias_batch;
        }
      }
      ptx::copy_async_commit();  // even an empty group, so that the waits always count the same number
    };
    this->load_bias(after_stages, bias_batch, first_head, first_key);
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) load(i);
    int head = first_head;
#pragma unroll 1
    for (int i = 0; i < count; ++i) {
      if constexpr (kStages == 1) {
        __syncthreads();
        load(i);
      }
      ptx::copy_async_wait<(kStages == 1 ? 0 : kStages - 2)>();
      __syncthreads();  // this step has arrived, and everybody is done with the stage that is loaded next
      if constexpr (kStages > 1) load(i + kStages - 1);
      select(i);
      if constexpr (kShape.resident) this->prepare_owned();
      add(head);
      if (++head == first_head + heads) head = first_head;
    }
    ptx::copy_async_wait<0>();
    __syncthreads();
    write();
  }

  FCSA_DEVICE void add(int head) {
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const int first = chunk * kShape.chunk;
      if (this->all_hidden(first_key + first)) continue;
      if (this->has_edge(first_key + first)) {
        add_chunk<true>(chunk, first, head);
      } else {
        add_chunk<false>(chunk, first, head);
      }
    }
  }

  template <bool edge>
  FCSA_DEVICE void add_chunk(int chunk, int first, int head) {
    Scores p, ds;
    Block::for_all(p, [](float) { return 0.0f; });
    this->template multiply<0>(tile(), first, p);
    this->template probabilities<edge>(tile(), first, {0, head, first_key + first}, p);
    this->start_gradients(tile(), first, ds);
    this->template multiply<1>(Block::second_tile(tile()), first, ds);
    this->score_gradients(tile(), first, p, ds);
#pragma unroll
    for (int m = 0; m < kShape.row_tiles; ++m)
#pragma unroll
      for (int n = 0; n < Block::kTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[chunk][m][n][i] += ds[m][n][i];
  }

  // Through the shared memory of the bias, to write 16 bytes at a time.
  FCSA_DEVICE void write() const {
    constexpr int kBytes = Block::kBiasBytes, kPieces = BiasRows::kPieces, kElements = 16 / kBytes;
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk)
#pragma unroll
      for (int m = 0; m < kShape.row_tiles; ++m)
#pragma unroll
        for (int n = 0; n < Block::kTiles; ++n)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int row = this->row_group * kShape.warp_rows() + 16 * m + 8 * half + this->g;
            const int byte = kBytes * (chunk * kShape.chunk + 8 * n + 2 * this->t);
            const unsigned to = after_stages + BiasRows::offset(0, row, 0, byte / 16) + byte % 16;
            const float x = sum[chunk][m][n][2 * half], y = sum[chunk][m][n][2 * half + 1];
            if constexpr (kBytes == 2) {
              ptx::store_shared(to, ptx::pack<T.dtype>(x, y));
            } else {
              ptx::store_shared(to, __float_as_uint(x));
              ptx::store_shared(to + 4, __float_as_uint(y));
            }
          }
    __syncthreads();
    const Strides& s = args.dbias_strides;
    char* const to =
        static_cast<char*>(args.dbias) + kBytes * (bias_batch * s.batch + first_head * s.head + first_key);
    const bool aligned = (s.batch | s.head | s.row) % kElements == 0 &&
                         reinterpret_cast<unsigned long long>(args.dbias) % 16 == 0;
    for (int i = thread_index; i < kShape.rows() * kPieces; i += kShape.threads()) {
      const int row = i / kPieces, piece = i % kPieces, key = first_key + piece * kElements;
      if (first_row + row >= args.nq || key >= args.nk) continue;
      const unsigned from = after_stages + BiasRows::offset(0, row, 0, piece);
      char* const place = to + kBytes * ((first_row + row) * s.row + piece * kElements);
      if (aligned && key + kElements <= args.nk) {
        *reinterpret_cast<uint4*>(place) = ptx::load_shared_words(from);
      } else {
        for (int e = 0; e < min(kElements, args.nk - key); ++e) {
          const unsigned word = __float_as_uint(ptx::load_shared(from + e * kBytes / 4 * 4));
          if constexpr (kBytes == 4) {
            reinterpret_cast<unsigned*>(place)[e] = word;
          } else {
            reinterpret_cast<unsigned short*>(place)[e] = static_cast<unsigned short>(word >> 16 * (e % 2));
          }
        }
      }
    }
  }
};

}  // namespace fcsa::kernels::mma
