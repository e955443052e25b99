# Gets CUDA headers and NVRTC from NVIDIA's wheels on the Python package index, into the build tree. Sets
#   FCSA_CUDA_INCLUDE_DIR  folder of cuda.h and nvrtc.h
#   FCSA_CUDA_WHEELS_DIR   root of the unpacked wheels, where the program looks for NVRTC last
set(FCSA_CUDA_WHEELS_DIR ${PROJECT_BINARY_DIR}/cuda-wheels)
set(fcsa_cuda_wheels "nvidia-cuda-nvrtc==13.0.*" "nvidia-cuda-runtime==13.0.*")

# A command that runs pip: python3's own, else that of a virtual environment in the build tree.
function(fcsa_find_pip result)
  find_program(FCSA_PYTHON python3)
  if(NOT FCSA_PYTHON)
    message(FATAL_ERROR "Found neither CUDA headers nor python3 to download them with: install the CUDA toolkit, or "
      "python3 with pip, or set FCSA_CUDA_INCLUDE_DIR to the folder of cuda.h and nvrtc.h")
  endif()
  execute_process(COMMAND ${FCSA_PYTHON} -m pip --version RESULT_VARIABLE status OUTPUT_QUIET ERROR_QUIET)
  if(status EQUAL 0)
    set(${result} ${FCSA_PYTHON} -m pip PARENT_SCOPE)
    return()
  endif()
  set(environment ${PROJECT_BINARY_DIR}/cuda-wheels-python)
  execute_process(COMMAND ${FCSA_PYTHON} -m venv ${environment} RESULT_VARIABLE status OUTPUT_VARIABLE output
    ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "Found no CUDA headers, and ${FCSA_PYTHON} has neither pip nor venv to download them with: "
      "install the CUDA toolkit or the packages python3-pip or python3-venv\n${output}")
  endif()
  set(${result} ${environment}/bin/python3 -m pip PARENT_SCOPE)
endfunction()

function(fcsa_unpack_cuda_wheels directory)
  fcsa_find_pip(pip)
  set(downloads ${directory}/downloads)
  message(STATUS "No CUDA toolkit: downloading ${fcsa_cuda_wheels}")
  execute_process(
    COMMAND ${pip} download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest ${downloads}
            ${fcsa_cuda_wheels}
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "Found no CUDA headers, and downloading the wheels failed: install the CUDA toolkit, or set "
      "FCSA_CUDA_INCLUDE_DIR to the folder of cuda.h and nvrtc.h\n${output}")
  endif()
  file(GLOB wheels ${downloads}/*.whl)
  foreach(wheel IN LISTS wheels)
    file(ARCHIVE_EXTRACT INPUT ${wheel} DESTINATION ${directory})
  endforeach()
  file(REMOVE_RECURSE ${downloads})
endfunction()

set(fcsa_wheel_include ${FCSA_CUDA_WHEELS_DIR}/nvidia/cu13/include)
if(NOT EXISTS ${fcsa_wheel_include}/nvrtc.h OR NOT EXISTS ${fcsa_wheel_include}/cuda.h)
  fcsa_unpack_cuda_wheels(${FCSA_CUDA_WHEELS_DIR})
endif()
foreach(header cuda.h nvrtc.h)
  if(NOT EXISTS ${fcsa_wheel_include}/${header})
    message(FATAL_ERROR "The CUDA wheels in ${FCSA_CUDA_WHEELS_DIR} have no ${header}: delete that folder, or install "
      "the CUDA toolkit")
  endif()
endforeach()
set(FCSA_CUDA_INCLUDE_DIR ${fcsa_wheel_include})
