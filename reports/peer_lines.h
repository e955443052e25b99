// The lines of peers in a figure.
#pragma once

#include <string>
#include <vector>

#include "reports/peers.h"
#include "reports/plot.h"
#include "reports/quantities.h"

namespace fcsa::reports {

struct PeerLine {
  Curve curve;                        // labelled with the peer's name
  std::vector<double> out_of_memory;  // lengths
};

// Of the peers that have something to show of these points, in the order of the file. A peer looks the same
// in all figures. `points` are of one device.
std::vector<PeerLine> peer_lines(const Quantity& quantity, const DeviceResults& device,
                                 const std::vector<const Point*>& points);

// Where they are from and how they were measured, for the reader of a figure; empty without lines.
std::string peers_note(const Peers& peers, const std::vector<PeerLine>& lines);

}  // namespace fcsa::reports
