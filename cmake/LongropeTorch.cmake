# Finds LibTorch. A wheel is a whole LibTorch with headers and CMake files, so the interpreter LONGROPE_PYTHON is asked
# where its copy lies; what comes before it, LongropeTorchChoice.cmake says.
# Include this last: Torch's CMake files set variables of the whole directory.
include(LongropeTorchChoice)

# The wheels hold Kineto inside libtorch, but TorchConfig.cmake looks for a library of its own and warns. A target that
# is linked anyway satisfies it.
set(kineto_LIBRARY c10 CACHE STRING "Stands in for Kineto, which is inside libtorch")
mark_as_advanced(kineto_LIBRARY)

# A CUDA LibTorch rewrites flags and architectures of nvcc for the whole directory. Our kernels know no Torch header and
# keep their own.
set(longrope_cuda_flags "${CMAKE_CUDA_FLAGS}")
set(longrope_cuda_architectures "${CMAKE_CUDA_ARCHITECTURES}")
unset(CMAKE_CUDA_ARCHITECTURES)
# Else its package runs a program that looks for GPUs; the flags it makes of this are dropped below.
set(TORCH_CUDA_ARCH_LIST 8.0)

longrope_find_torch()

set(CMAKE_CUDA_FLAGS "${longrope_cuda_flags}")
set(CMAKE_CUDA_ARCHITECTURES "${longrope_cuda_architectures}")
if(TARGET torch_cuda)
  set(LONGROPE_TORCH_CUDA TRUE)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)  # the one that Torch uses
else()
  set(LONGROPE_TORCH_CUDA FALSE)
endif()
if(LONGROPE_CUDA)
  string(REPLACE ";" ", " longrope_architectures_text "${CMAKE_CUDA_ARCHITECTURES}")
  set(longrope_cuda_use "built alone: this LibTorch is for CPUs")
  if(LONGROPE_TORCH_CUDA)
    set(longrope_cuda_use "linked into the worker")
  endif()
  message(STATUS "CUDA kernels: ${longrope_cuda_use} (architectures ${longrope_architectures_text}; "
    "nvcc ${CMAKE_CUDA_COMPILER_VERSION})")
endif()

# longrope_torch: Torch with the flags its binary interface needs.
add_library(longrope_torch INTERFACE)
# at::parallel_for is a template: in a source compiled without OpenMP it runs on one thread and does not say so.
# As flags, not as a library: Torch brings a libgomp of the same soname, and a path to the system's would hide it.
find_package(OpenMP REQUIRED COMPONENTS CXX)
target_compile_options(longrope_torch INTERFACE ${OpenMP_CXX_FLAGS})
target_link_options(longrope_torch INTERFACE ${OpenMP_CXX_FLAGS})
target_link_libraries(longrope_torch INTERFACE ${TORCH_LIBRARIES})
# The wheel has c10d's Gloo, but not the headers that its own include.
find_path(LONGROPE_GLOO_INCLUDE gloo/algorithm.h DOC "Folder of the headers of Gloo (Debian: libgloo-dev)" REQUIRED)
target_include_directories(longrope_torch SYSTEM INTERFACE "${LONGROPE_GLOO_INCLUDE}")
if(LONGROPE_TORCH_CUDA)
  # A CUDA wheel of Torch brings the one of NCCL.
  find_path(LONGROPE_NCCL_INCLUDE nccl.h HINTS "${TORCH_INSTALL_PREFIX}/../nvidia/nccl/include"
    DOC "Folder of the header of NCCL (NVIDIA's wheel, or libnccl-dev)" REQUIRED)
endif()
separate_arguments(longrope_torch_flags UNIX_COMMAND "${TORCH_CXX_FLAGS}")
target_compile_options(longrope_torch INTERFACE ${longrope_torch_flags})
# Torch's include folder holds an fmt of its own, which comes before the system's; libfmt has none of its functions.
target_compile_definitions(longrope_torch INTERFACE FMT_HEADER_ONLY)
