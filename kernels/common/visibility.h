// Which keys a query sees: the causal rule stands here and nowhere else but in kernels for GPUs. Includes
// nothing but interface.h, so that the host, kernels and emitted headers read the same rule.
#pragma once

#include "kernels/common/interface.h"

namespace fcsa::kernels {

// first to end - 1; empty where end <= first.
struct Range {
  long long first = 0, end = 0;

  FCSA_HD constexpr bool has(long long item) const { return first <= item && item < end; }
  FCSA_HD constexpr bool has(const Range& part) const { return first <= part.first && part.end <= end; }
  FCSA_HD constexpr bool meets(const Range& other) const { return first < other.end && other.first < end; }
  FCSA_HD constexpr long long size() const { return first < end ? end - first : 0; }
};

FCSA_HD constexpr long long within(long long value, long long most) {
  return value < 0 ? 0 : value < most ? value : most;
}

// What a range has of `count` items from `first` on, counted from there.
FCSA_HD constexpr Range part_of(const Range& range, long long first, long long count) {
  return {within(range.first - first, count), within(range.end - first, count)};
}

// The blocks of `size` items that have any of a range.
FCSA_HD constexpr Range blocks_of(const Range& range, long long size) {
  return {range.first / size, range.size() == 0 ? range.first / size : (range.end - 1) / size + 1};
}

// Of one head. Causal: the last query sees the last key, and each query one key fewer than the next; the
// first of more queries than keys see none. Masks come on top.
struct Visibility {
  int nq = 1, nk = 1;
  bool causal = false;

  FCSA_HD constexpr bool sees(long long query, long long key) const {
    return !causal || key <= query + nk - nq;
  }
  // Whether every query sees every key, whatever the lengths.
  FCSA_HD constexpr bool full() const { return !causal; }
  // Whether later queries see more keys: who deals out work begins with the last.
  FCSA_HD constexpr bool grows() const { return causal; }

  // The keys that any of the queries sees, that all of them see, and the queries that see any of the keys.
  // Queries and keys that are asked for past the end count as the last.
  FCSA_HD constexpr Range keys_of(const Range& queries) const {
    const long long last = (queries.end < nq ? queries.end : nq) - 1;
    return {0, causal ? within(last + 1 + nk - nq, nk) : nk};
  }
  FCSA_HD constexpr Range keys_of(long long query) const { return keys_of({query, query + 1}); }
  FCSA_HD constexpr Range keys_of_all(const Range& queries) const { return keys_of(queries.first); }
  FCSA_HD constexpr Range queries_of(const Range& keys) const {
    return {causal ? within(keys.first + nq - nk, nq) : 0, nq};
  }
  FCSA_HD constexpr Range queries_of(long long key) const { return queries_of({key, key + 1}); }

  // Whether every one of these queries sees every one of these keys, all of which exist.
  FCSA_HD constexpr bool whole(const Range& queries, const Range& keys) const {
    return keys_of_all(queries).has(keys);
  }

  // Pairs of a query and a key that it sees.
  FCSA_HD constexpr double pairs() const {
    if (!causal) return 1.0 * nq * nk;
    // As many rows as see any, of which the first sees so many keys and each of the others one more.
    const double rows = nq < nk ? nq : nk, first = nk < nq ? 1.0 : 1.0 + nk - nq;
    return rows * (first + nk) / 2;
  }

  // Keys that tiles of queries read, each up to the last that its last query sees, on average over so many
  // tiles of a head; the last tile reads all.
  FCSA_HD constexpr double mean_keys_of_tiles(double tile_queries, double tiles) const {
    if (!causal) return nk;
    const double more_keys = static_cast<double>(nk) - nq;
    const double without =
        more_keys < 0 ? static_cast<double>(static_cast<long long>(-more_keys / tile_queries)) : 0;
    const double blind = without < tiles - 1 ? without : tiles - 1, count = tiles - 1 - blind;
    const double sum = count * more_keys + tile_queries * (blind + 1 + tiles - 1) * count / 2;
    return (sum + nk) / tiles;
  }
};

FCSA_HD constexpr Visibility visibility_of(const Traits& traits, const Args& args) {
  return {args.nq, args.nk, traits.causal};
}

}  // namespace fcsa::kernels
