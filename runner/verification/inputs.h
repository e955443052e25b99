// Inputs of a problem: made on the host from a seed, then placed on the device between guard regions.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/problem.h"
#include "runner/device/device.h"
#include "runner/verification/placement.h"

namespace fcsa::runner {

// How the values of q, k and v are drawn. normal is what is timed; the others are adversarial, and their key
// masks hide runs of keys: the first half (of odd batches the second), or what is in the middle, so that
// whole tiles are hidden.
enum class Values {
  normal,           // standard normal
  dominant_key,     // one key per head points along a query: a softmax with all its weight in one place
  tiny_rows,        // rows of magnitude 1e-3
  large_rows,       // rows of magnitude 1e3, and but for f16 of 1e10 and 1e-8
  clamped_rows,     // rows that are zero or 1e-3, shorter than eps, which is 0.05
  opposed,          // every key points against every query: all logits at the lower bound
  repeated_keys,    // all keys of a head are equal: a softmax without preference
  one_visible_key,  // the mask leaves one key per batch
  large_bias,       // rows of the bias at 60, growing up to it, with one entry of 60; minus infinity at some
                    // keys, at all but one, and everywhere
  huge_rows,        // rows of 1e20, whose squares no f32 holds, of 1e-20 and zero; for kernels of CPUs
};
inline constexpr Values kAllValues[] = {
    Values::normal,  Values::dominant_key,  Values::tiny_rows,       Values::large_rows, Values::clamped_rows,
    Values::opposed, Values::repeated_keys, Values::one_visible_key, Values::large_bias, Values::huge_rows};
std::string_view to_text(Values values);
// Whether a problem has what these values are about (a mask, a bias), and they keep what its caller promises
// about the logits.
bool apply_to(Values values, const kernels::Problem& problem);
// huge_rows on a GPU, where squares of channels are summed up in f32, becomes large_rows.
Values values_for(kernels::DeviceKind kind, Values values);

// Host copy of every input, dense in the problem's layout, in the problem's dtype.
struct HostInputs {
  kernels::Problem problem;
  std::vector<unsigned char> q, k, v, key_mask, bias;
  std::vector<float> head_scale;
  std::vector<unsigned char> dout, o;  // backward: as q
  std::vector<float> lse;              // backward: [batch, heads, nq]
  float eps = 1e-12f;

  // Arguments that point into these vectors, which kernels don't write to; outputs and workspace null. Valid
  // while this object lives and is not moved.
  kernels::BackwardArgs args() const;
};

// Equal problem, values and seed give equal bytes on every machine. The key mask leaves about 3/4 of the keys
// visible, or half of them, at least one per batch; what is visible is 1, 2, 128 or 255. Without large_bias a
// bias is standard normal.
// For a backward problem also dout, standard normal, and o and lse of the forward pass: in fp64, then rounded
// (equal on every machine whose C library has the same exp and log). Of large problems with normal values
// they are estimates from a sample of the keys (forward_results.h): the formula of the backward pass is
// defined for any o and lse, and what a kernel makes of these is compared with what follows from them.
// `key_lengths`, of each batch: the mask shows so many keys instead, the first ones; empty: it is drawn.
HostInputs make_inputs(const kernels::Problem& problem, Values values, std::uint64_t seed,
                       const std::vector<int>& key_lengths = {});

// For every query row [batch, heads, nq], whether it sees a key: what the causal and the key mask and a bias
// of minus infinity leave.
std::vector<bool> seeing_rows(const HostInputs& inputs);
// Puts NaN where nobody looks: k and v of keys that the mask hides from all queries, q and dout of rows that
// the masks hide all keys from.
void hide_with_nan(HostInputs& inputs);

// What kernels write: o and lse in the forward pass, the others in the backward pass.
enum class Output { o, lse, dq, dk, dv, dbias, dscale };
std::string_view to_text(Output output);

// Inputs and outputs of a problem on a device. Every buffer has guard regions on both sides and, in other
// placements than dense, between rows: NaN around inputs and the workspace. Where the device has fences
// (CPU), buffers in these placements end at one.
class DeviceTensors {
 public:
  DeviceTensors(Device& device, const HostInputs& inputs, Placement placement = Placement::dense);
  ~DeviceTensors();
  DeviceTensors(DeviceTensors&&) noexcept;

  // Device pointers; workspace of at least `workspace_bytes`, allocated on first use and kept.
  kernels::BackwardArgs args(std::size_t workspace_bytes);
  // Pointers to the workspace from earlier calls of args() dangle.
  void release_workspace();
  // Those that the problem has: dbias and dscale where they are wanted.
  std::vector<Output> outputs() const;
  // Fills the outputs and the workspace with a NaN pattern.
  void poison_outputs();
  // A host copy, dense in the problem's layout, whatever the placement. Precondition: one of outputs().
  std::vector<unsigned char> download(Output output) const;
  // Name of the first buffer whose guards, or an input that is small, was written to ("o", "lse",
  // "workspace", "q", ...); empty when intact.
  std::string damaged_guard() const;
  std::size_t bytes() const;            // inputs, outputs and guards
  std::size_t workspace_bytes() const;  // currently allocated

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fcsa::runner
