#include "reports/peer_lines.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <set>

namespace fcsa::reports {
namespace {

constexpr std::array kMarkers = {Marker::diamond, Marker::down, Marker::square, Marker::circle,
                                 Marker::triangle};

Curve look_of(const std::string& name, std::size_t index) {
  Curve curve;
  curve.label = name;
  curve.colour =
      static_cast<Colour>(static_cast<int>(Colour::peer1) + static_cast<int>(index) % kPeerColours);
  curve.marker = kMarkers[index % kMarkers.size()];
  curve.width = 1.2;
  return curve;
}

// What is shown of the peer on a problem, of which there may be several measurements: of one pass, and of
// both.
void add_point(PeerLine& line, const Point& point, const Quantity& quantity, const DeviceResults& device) {
  const double x = point.problem.nk;
  bool out_of_memory = false;
  for (const PeerMeasurement& m : quantity.peers->measurements) {
    if (m.peer != line.curve.label || !is_of(m, point, device.device)) continue;
    if (const auto y = quantity.peer(m)) {
      line.curve.samples.push_back({x, *y, *y, *y});
      return;
    }
    out_of_memory = out_of_memory || m.out_of_memory;
  }
  if (out_of_memory) line.out_of_memory.push_back(x);
}

}  // namespace

std::vector<PeerLine> peer_lines(const Quantity& quantity, const DeviceResults& device,
                                 const std::vector<const Point*>& points) {
  std::vector<PeerLine> lines;
  if (!quantity.peer || quantity.peers == nullptr) return lines;
  for (std::size_t i = 0; i < quantity.peers->names.size(); ++i) {
    PeerLine line{.curve = look_of(quantity.peers->names[i], i), .out_of_memory = {}};
    for (const Point* point : points) add_point(line, *point, quantity, device);
    if (!line.curve.samples.empty() || !line.out_of_memory.empty()) lines.push_back(std::move(line));
  }
  return lines;
}

std::string peers_note(const Peers& peers, const std::vector<PeerLine>& lines) {
  if (lines.empty()) return "";
  std::vector<std::string> names;
  for (const PeerLine& line : lines) names.push_back(line.curve.label);
  std::set<std::string> versions;
  for (const PeerMeasurement& m : peers.measurements) versions.insert("torch " + m.torch);
  return fmt::format("{}: from {} ({}), measured in PyTorch and in no race with the others.",
                     fmt::join(names, ", "), peers.file, fmt::join(versions, ", "));
}

}  // namespace fcsa::reports
