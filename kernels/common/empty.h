// What is written for a problem without queries, keys or batches: o = 0, lse = -inf, gradients 0.
#pragma once

#include "kernels/common/backward.h"
#include "kernels/common/sizes.h"

namespace fcsa::kernels {

// `rows` rows of `width` equal bytes, `pitch` bytes from one to the next.
struct Fill {
  void* to;
  long long pitch, width, rows;
  unsigned char value;
};

// Calls fill(Fill) for all that such a problem writes: whoever executes the plan does that where the tensors
// are.
class Fills {
 public:
  // Backward, `args` are BackwardArgs.
  Fills(const Nothing& nothing, const Args& args) : nothing_(nothing), args_(args) {}

  template <typename Function>
  void for_each(const Function& fill) const {
    if (nothing_.backward) {
      gradients(static_cast<const BackwardArgs&>(args_), fill);
    } else {
      output(fill);
    }
  }

 private:
  template <typename Function>
  void output(const Function& fill) const {
    clear(args_.o, args_.o_strides, args_.heads, args_.nq, fill);
    const long long rows = 1LL * args_.batch * args_.heads * args_.nq;
    if (rows == 0) return;
    // -inf, byte by byte: its lower half is zero.
    char* const lse = reinterpret_cast<char*>(args_.lse);
    fill(Fill{lse, 4, 2, rows, 0});
    fill(Fill{lse + 2, 4, 1, rows, 0x80});
    fill(Fill{lse + 3, 4, 1, rows, 0xff});
  }

  template <typename Function>
  void gradients(const BackwardArgs& a, const Function& fill) const {
    clear(a.dq, a.dq_strides, a.heads, a.nq, fill);
    clear(a.dk, a.dk_strides, a.kv_heads, a.nk, fill);
    clear(a.dv, a.dv_strides, a.kv_heads, a.nk, fill);
    if (a.wants_dscale) fill(Fill{a.dscale, 4LL * a.heads, 4LL * a.heads, 1, 0});
    if (!a.wants_dbias || a.nq == 0 || a.nk == 0) return;
    const Rows bias{nothing_.bias_bytes, 1LL * nothing_.bias_bytes * a.nk};
    for (int batch = 0; batch < a.bias_batch; ++batch)
      for (int head = 0; head < a.bias_heads; ++head) {
        const auto& s = a.dbias_strides;
        bias.clear(a.dbias, batch * s.batch + head * s.head, s.row, a.nq, fill);
      }
  }

  struct Rows {
    int element_bytes;
    long long width;

    template <typename Function>
    void clear(void* tensor, long long first, long long stride, int rows, const Function& fill) const {
      fill(Fill{static_cast<char*>(tensor) + first * element_bytes, stride * element_bytes, width, rows, 0});
    }
  };

  template <typename Function>
  void clear(void* tensor, const Strides& s, int heads, int rows, const Function& fill) const {
    const Rows of{nothing_.element_bytes, 1LL * nothing_.element_bytes * nothing_.head_dim};
    for (int batch = 0; rows > 0 && batch < args_.batch; ++batch)
      for (int head = 0; head < heads; ++head)
        of.clear(tensor, batch * s.batch + head * s.head, s.row, rows, fill);
  }

  Nothing nothing_;
  const Args& args_;
};

}  // namespace fcsa::kernels
