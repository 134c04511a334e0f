# Looks for a CUDA compiler: CMAKE_CUDA_COMPILER, that of the environment which holds Torch, then the PATH. Where there
# is one, LONGROPE_CUDA is true and worker/kernels/cuda is built for CMAKE_CUDA_ARCHITECTURES, whatever LibTorch is
# used; where there is none, nothing else changes.
# Include this before LongropeTorch: a CUDA LibTorch enables the language in its own way if nobody did before.

# NVIDIA's wheels beside a CUDA build of Torch (tools/install_cuda_toolkit.sh) are of the release it was built with,
# which Torch's package insists on.
cmake_path(GET LONGROPE_PYTHON PARENT_PATH longrope_environment)
file(GLOB longrope_nvcc "${longrope_environment}/../lib/python3*/site-packages/nvidia/cu*/bin/nvcc")
if(longrope_nvcc AND NOT CMAKE_CUDA_COMPILER)
  list(GET longrope_nvcc 0 longrope_nvcc)
  cmake_path(NORMAL_PATH longrope_nvcc OUTPUT_VARIABLE longrope_nvcc)
  cmake_path(GET longrope_nvcc PARENT_PATH longrope_toolkit)
  cmake_path(GET longrope_toolkit PARENT_PATH longrope_toolkit)
  set(CMAKE_CUDA_COMPILER "${longrope_nvcc}" CACHE FILEPATH "CUDA compiler")
  set(CUDAToolkit_ROOT "${longrope_toolkit}" CACHE PATH "CUDA toolkit")
  set(CUDA_TOOLKIT_ROOT_DIR "${longrope_toolkit}" CACHE PATH "CUDA toolkit, as Torch's package calls it")
  # Torch's package has a variable for this library but does not look for it.
  set(CUDA_NVRTC_LIB "${longrope_toolkit}/lib/libnvrtc.so" CACHE FILEPATH "NVRTC, for Torch's package")
endif()

include(CheckLanguage)
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90 100)  # A100, H100 and H200, B200
endif()
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  set(LONGROPE_CUDA FALSE)
  message(STATUS "CUDA kernels: not built, there is no CUDA compiler")
  return()
endif()
set(LONGROPE_CUDA TRUE)
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  # CMake 3.25 does not know yet that nvcc 12 and later have C++20.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
if(LONGROPE_CCACHE AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${LONGROPE_CCACHE}")
endif()
