// Grouped l2 normalisation of q and k ahead of a forward kernel: when it runs, where it writes, how it is
// launched. With groups > 1 the norms cannot be pulled out of the dot products of raw q and k.
#pragma once

#include "kernels/common/interface.h"

namespace fcsa::kernels {

FCSA_HD constexpr bool normalises_first(const Traits& traits) {
  return traits.l2norm_qk && traits.groups > 1;
}

// Byte offsets into Args::workspace of the normalised tensors, q [batch, heads, nq, head_dim] and k [batch,
// kv_heads, nk, head_dim], dense, in the problem's dtype, each padded to 256 bytes.
struct NormalisedTensors {
  long long q = 0, k = 0, bytes = 0;
};

FCSA_HD constexpr NormalisedTensors normalised_tensors(const Traits& traits, const Args& args) {
  const long long row_bytes = 1LL * traits.head_dim * element_bytes(traits.dtype);
  NormalisedTensors tensors;
  tensors.k = ceil_div(1LL * args.batch * args.heads * args.nq * row_bytes, 256) * 256;
  tensors.bytes = tensors.k + ceil_div(1LL * args.batch * args.kv_heads * args.nk * row_bytes, 256) * 256;
  return tensors;
}

// How threads share a row. A span is the shortest run of channels that is a whole number of groups and of
// 16-byte pieces. A span that is one group is shared by several lanes, a span of several groups belongs to
// one; a thread works on several spans so that enough bytes are in flight.
struct NormaliseLayout {
  static constexpr int kThreads = 256;
  static constexpr int kLargestLanes = 8;
  static constexpr int kPiecesInFlight = 4;

  int group;     // channels
  int elements;  // of a piece
  int span;      // channels
  int row_spans;

  FCSA_HD constexpr explicit NormaliseLayout(const Traits& traits)
      : group(traits.head_dim / traits.groups), elements(16 / element_bytes(traits.dtype)), span(group) {
    while (span % elements != 0) span += group;
    row_spans = traits.head_dim / span;
  }

  FCSA_HD constexpr int pieces() const { return span / elements; }
  FCSA_HD constexpr int span_groups() const { return span / group; }
  FCSA_HD constexpr int lanes() const {
    if (span_groups() > 1) return 1;
    int lanes = 1;
    while (lanes < pieces() && lanes < kLargestLanes) lanes *= 2;
    return lanes;
  }
  FCSA_HD constexpr int lane_pieces() const { return static_cast<int>(ceil_div(pieces(), lanes())); }
  FCSA_HD constexpr int thread_spans() const {
    return lane_pieces() < kPiecesInFlight ? kPiecesInFlight / lane_pieces() : 1;
  }
  // Spans that a block takes at once, and in all; blocks for `rows` rows of one head.
  FCSA_HD constexpr int spans_at_once() const { return kThreads / lanes(); }
  FCSA_HD constexpr int block_spans() const { return spans_at_once() * thread_spans(); }
  FCSA_HD constexpr long long blocks(int rows) const {
    return ceil_div(1LL * rows * row_spans, block_spans());
  }
};

FCSA_HD constexpr Launch normalise_launch(int kernel, const Traits& traits, const Args& args) {
  const NormaliseLayout layout(traits);
  Launch launch;
  launch.kernel = kernel;
  launch.grid_x = static_cast<unsigned>(
      args.batch * (args.heads * layout.blocks(args.nq) + args.kv_heads * layout.blocks(args.nk)));
  launch.threads = NormaliseLayout::kThreads;
  return launch;
}

}  // namespace fcsa::kernels
