// Where the tuned data is, and the dispatch tables that it gives for a device.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "library/notes.h"
#include "tuner/dispatch/dispatch.h"

namespace fcsa::library {

struct TunedTable {
  tuner::DispatchTable table;
  std::string file;
};

// The files that are looked into, in order. Those that can't be read are left out, which is noted.
class Databases {
 public:
  // `named` is fcsa_options::database: null looks at $FCSA_DB and the user's database, empty means none at
  // all.
  Databases(const char* named, Notes& notes);

  const std::vector<std::filesystem::path>& files() const { return files_; }
  // Whether a device without a table is news: data was wanted, and nobody has been told that it is missing.
  bool should_have_data() const { return wanted_ && !noted_; }
  // One of each file that has measurements of this device or of one that is like it, in the order of files().
  std::vector<TunedTable> tables_for(const kernels::DeviceInfo& device, Notes& notes) const;

 private:
  std::vector<std::filesystem::path> files_;
  bool wanted_;
  bool noted_ = false;
};

}  // namespace fcsa::library
