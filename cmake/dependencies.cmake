# Third-party libraries, from the distribution's packages (scripts/install_dependencies.sh names them).
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
# The header-only variant compiles slower, and needs no shared library on the machine that the program is carried to.
if(FCSA_PORTABLE)
  add_library(fcsa_fmt ALIAS fmt::fmt-header-only)
else()
  add_library(fcsa_fmt ALIAS fmt::fmt)
endif()
find_package(nlohmann_json REQUIRED)
if(FCSA_PORTABLE)
  # FindSQLite3, which SQLiteCpp calls, takes the archive when it is already found.
  find_library(SQLite3_LIBRARY NAMES libsqlite3.a sqlite3)
endif()
find_package(SQLiteCpp REQUIRED)
find_package(CLI11 REQUIRED)

find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)
add_library(fcsa_xxhash INTERFACE)
target_include_directories(fcsa_xxhash SYSTEM INTERFACE ${XXHASH_INCLUDE_DIR})
target_compile_definitions(fcsa_xxhash INTERFACE XXH_INLINE_ALL)

# CUDA headers: nothing is linked, libcuda and NVRTC are loaded at run time. Those of a toolkit before 12.4 won't do.
option(FCSA_FORCE_CUDA_WHEELS "Download CUDA headers and NVRTC even where a toolkit is installed" OFF)
find_path(FCSA_CUDA_INCLUDE_DIR nvrtc.h HINTS $ENV{CUDA_HOME} $ENV{CUDA_PATH} /usr/local/cuda PATH_SUFFIXES include)
set(fcsa_cuda_version 0)
if(EXISTS ${FCSA_CUDA_INCLUDE_DIR}/cuda.h)
  file(STRINGS ${FCSA_CUDA_INCLUDE_DIR}/cuda.h fcsa_cuda_version REGEX "^#define CUDA_VERSION")
  string(REGEX REPLACE "[^0-9]" "" fcsa_cuda_version "${fcsa_cuda_version}")
endif()
if(FCSA_FORCE_CUDA_WHEELS OR fcsa_cuda_version LESS 12040)
  include(cmake/cuda_wheels.cmake)
endif()
message(STATUS "CUDA headers: ${FCSA_CUDA_INCLUDE_DIR}")
