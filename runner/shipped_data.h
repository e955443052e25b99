// The tuned data that comes with this program or library.
#pragma once

#include <filesystem>
#include <optional>

namespace fcsa::runner {

// The file that $FCSA_TUNED_DATA names, if it is set: empty means none. Else share/fcsa/tuned.db beside the
// lib, lib/x86_64-linux-gnu or bin (of a build tree: cli, library) that this code is in; else where it was to
// be installed. A database like any other, with trials of known devices. None when none is shipped.
std::optional<std::filesystem::path> shipped_database();

}  // namespace fcsa::runner
