// A shared library loaded at run time.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace fcsa::runner {

// Move-only; closed on destruction. Constructors throw std::runtime_error with the loader's message.
class DynamicLibrary {
 public:
  // `name` as dlopen takes it: a path, or a bare name that the loader searches for. RTLD_NOW | RTLD_LOCAL.
  static DynamicLibrary open(const std::string& name);
  // The same, never unloaded: for libraries that keep threads or memory of their own.
  static DynamicLibrary open_for_good(const std::string& name);
  // The first of `names` that can be loaded, for good. The error says in a line where it was looked for, and
  // why files that are there can't be loaded.
  static DynamicLibrary open_first(const std::vector<std::string>& names);
  // Only if some part of this process has already loaded it.
  static std::optional<DynamicLibrary> open_if_loaded(const std::string& name);
  ~DynamicLibrary();
  DynamicLibrary(DynamicLibrary&& other) noexcept;
  DynamicLibrary& operator=(DynamicLibrary&& other) noexcept;

  // Null when there is no such symbol.
  void* find(const std::string& symbol) const;
  // Throws std::runtime_error naming the symbol and the library.
  void* get(const std::string& symbol) const;
  // Where the file is that defines `symbol`, or the name it was opened with when the loader doesn't tell.
  std::filesystem::path path_of(const std::string& symbol) const;

 private:
  DynamicLibrary(void* handle, std::string name);
  static DynamicLibrary open(const std::string& name, int extra_flags);

  void* handle_ = nullptr;
  std::string name_;
};

// Of the program or shared library that this code has become a part of; empty when the loader doesn't tell.
std::filesystem::path folder_of_this_code();

// Whether the file system there allows no code to be loaded.
bool mounted_noexec(const std::filesystem::path& path);

}  // namespace fcsa::runner
