// The tuned data and the workloads that come with this program or library.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace fcsa::runner {

// The file that $FCSA_TUNED_DATA names, if it is set: empty means none. Else share/fcsa/tuned.db beside the
// lib, lib/x86_64-linux-gnu or bin (of a build tree: cli, library) that this code is in; else where it was to
// be installed. A database like any other, with trials of known devices. None when none is shipped.
std::optional<std::filesystem::path> shipped_database();
// The file of a workload, share/fcsa/workloads/NAME.jsonl in the same places, and the names that there are,
// sorted.
std::optional<std::filesystem::path> shipped_workload(const std::string& name);
std::vector<std::string> shipped_workloads();

}  // namespace fcsa::runner
