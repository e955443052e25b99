// How the points of a report are grouped: one section per class of problems and way of growing with the
// sequence.
#pragma once

#include <string>
#include <vector>

#include "reports/comparison.h"

namespace fcsa::reports {

// Points that differ only in sequence length (and in batch, where the number of tokens is fixed): one curve.
struct Section {
  std::string id;                  // usable as an HTML id: "s1"
  std::string title;               // "Forward, bf16, head dim 64, causal"; no other section has it
  std::vector<std::string> shape;  // "32 heads", "16,384 tokens ...", "layout bhnd", "warm cache"
  std::string class_text;
  kernels::Op op = kernels::Op::forward;
  // Points of each device in the order of the devices, sorted by key length; empty where it wasn't tuned.
  std::vector<std::vector<const Point*>> by_device;

  // Of unfused attention there is a forward pass only.
  bool has_yardstick() const { return op == kernels::Op::forward; }
};

// What its speed-ups are relative to, where that is not the same as for other sections; else empty.
std::string speedup_note(const Section& section);

// Points into `devices`, which must outlive the result.
std::vector<Section> make_sections(const std::vector<DeviceResults>& devices);

}  // namespace fcsa::reports
