// A database with a GPU that was tuned, made up.
#pragma once

#include <filesystem>
#include <string>

#include "kernels/target.h"

namespace fcsa::cli {

kernels::DeviceInfo gpu(const std::string& name, const std::string& uuid, const std::string& arch);

// Adds a session on the device: f32, head dim 64, at this length, the baseline of simt in 2 ms and another
// configuration in 1 ms, finished at `when`.
void add_tuning(const std::filesystem::path& db, const kernels::DeviceInfo& device, int length,
                const std::string& when);

// Adds a session on the device in which nothing went well.
void add_failure(const std::filesystem::path& db, const kernels::DeviceInfo& device);

}  // namespace fcsa::cli
