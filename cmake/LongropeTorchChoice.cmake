# Decides which Torch is linked and sees to it that its CMake files, headers and libraries are one. Left to themselves
# they need not be: TorchConfig.cmake looks for libraries on the PATH's and the system's prefixes first, and CMake keeps
# what an earlier configuration found. In order:
#   1. Torch_DIR, when given
#   2. LONGROPE_PYTHON, when it is not that of .venv: the Torch that this interpreter imports
#   3. a Torch below CMAKE_PREFIX_PATH
#   4. the Torch of .venv

set(LONGROPE_TORCH_MINIMUM 2.11)

# longrope_torch_of_python(<python> <variable>): the folder of the CMake files of the Torch that <python> imports.
function(longrope_torch_of_python python directory)
  execute_process(
    COMMAND "${python}" -c "import torch, torch.utils; print(torch.__version__); print(torch.utils.cmake_prefix_path)"
    OUTPUT_VARIABLE answer ERROR_VARIABLE error RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT failed EQUAL 0)
    string(REGEX REPLACE "^.*\n(.)" "\\1" error "${failed}\n${error}")
    string(STRIP "${error}" error)
    message(FATAL_ERROR "LONGROPE_PYTHON must import torch: ${python} does not: ${error}")
  endif()
  string(REGEX REPLACE "^.*\n([^\n]+)\n([^\n]+)$" "\\1;\\2" answer "\n${answer}")  # imports may print before
  list(GET answer 0 version)
  list(GET answer 1 prefix)
  string(REGEX MATCH "^[0-9]+(\\.[0-9]+)*" number "${version}")
  if(number VERSION_LESS LONGROPE_TORCH_MINIMUM)
    message(FATAL_ERROR "Torch must be ${LONGROPE_TORCH_MINIMUM} or newer: ${python} has ${version}")
  endif()
  if(NOT EXISTS "${prefix}/Torch/TorchConfig.cmake")
    message(FATAL_ERROR "the Torch of LONGROPE_PYTHON must have CMake files: ${python} has ${version} without "
      "${prefix}/Torch/TorchConfig.cmake")
  endif()
  set(${directory} "${prefix}/Torch" PARENT_SCOPE)
endfunction()

# longrope_choose_torch(<variable>): the folder of TorchConfig.cmake by the order above.
function(longrope_choose_torch directory)
  # What an earlier configuration found is looked for again: LONGROPE_PYTHON or CMAKE_PREFIX_PATH may be another.
  if(LONGROPE_TORCH_FOUND AND Torch_DIR STREQUAL LONGROPE_TORCH_FOUND)
    unset(Torch_DIR CACHE)
  endif()
  # The folders are compared: python itself is a link out of .venv.
  cmake_path(GET LONGROPE_PYTHON PARENT_PATH programs)
  file(REAL_PATH "${programs}" programs)
  file(REAL_PATH "${PROJECT_SOURCE_DIR}/.venv/bin" default_programs)
  set(own_python TRUE)
  if(programs STREQUAL default_programs)
    set(own_python FALSE)
  endif()
  set(of_python "")
  if(own_python)
    longrope_torch_of_python("${LONGROPE_PYTHON}" of_python)
  endif()
  set(LONGROPE_TORCH_FOUND "" CACHE INTERNAL "Torch_DIR as it was found, empty when it was given")
  if(Torch_DIR)
    file(REAL_PATH "${Torch_DIR}" given)
    file(REAL_PATH "${of_python}" asked)
    if(own_python AND NOT given STREQUAL asked)
      message(FATAL_ERROR "Torch_DIR must be that of LONGROPE_PYTHON: ${Torch_DIR} is not ${of_python}, which "
        "${LONGROPE_PYTHON} imports; leave one of the two out (cmake -U Torch_DIR forgets what was found before)")
    endif()
    set(${directory} "${Torch_DIR}" PARENT_SCOPE)
    return()
  endif()
  set(found "${of_python}")
  if(NOT found)
    string(REPLACE ":" ";" environment "$ENV{CMAKE_PREFIX_PATH}")
    unset(found)  # find_path looks for nothing that is set
    find_path(found TorchConfig.cmake PATHS ${CMAKE_PREFIX_PATH} ${environment}
      PATH_SUFFIXES share/cmake/Torch lib/cmake/Torch Torch NO_DEFAULT_PATH NO_CACHE)
  endif()
  if(NOT found)
    if(NOT EXISTS "${LONGROPE_PYTHON}")
      message(FATAL_ERROR "Torch was not found and ${LONGROPE_PYTHON} does not exist: run "
        "tools/install_dependencies.sh, give LONGROPE_PYTHON, CMAKE_PREFIX_PATH or Torch_DIR, or configure with "
        "-DLONGROPE_BUILD_WORKER=OFF")
    endif()
    longrope_torch_of_python("${LONGROPE_PYTHON}" found)
  endif()
  set(LONGROPE_TORCH_FOUND "${found}" CACHE INTERNAL "Torch_DIR as it was found, empty when it was given")
  set(${directory} "${found}" PARENT_SCOPE)
endfunction()

# longrope_pin_torch(<directory>): before find_package(Torch): what Torch's files would look for, they find here.
function(longrope_pin_torch directory)
  file(REAL_PATH "${directory}/../../.." prefix)
  set(Torch_DIR "${directory}" CACHE PATH "Folder of TorchConfig.cmake" FORCE)
  cmake_path(SET caffe2 NORMALIZE "${directory}/../Caffe2")
  set(Caffe2_DIR "${caffe2}" CACHE PATH "Folder of Caffe2Config.cmake, of the same Torch" FORCE)
  foreach(pair TORCH_LIBRARY=torch c10_LIBRARY=c10 C10_CUDA_LIBRARY=c10_cuda)
    string(REGEX MATCH "^(.*)=(.*)$" pair "${pair}")
    unset(${CMAKE_MATCH_1} CACHE)
    find_library(${CMAKE_MATCH_1} ${CMAKE_MATCH_2} PATHS "${prefix}/lib" NO_DEFAULT_PATH)
  endforeach()
endfunction()

# longrope_require_one_torch(<directory>): after find_package(Torch): refuses a version that is too old, and libraries
# that are not those beside the CMake files.
function(longrope_require_one_torch directory)
  if(NOT Torch_FOUND)
    if(Torch_CONSIDERED_VERSIONS)
      message(FATAL_ERROR "Torch must be ${LONGROPE_TORCH_MINIMUM} or newer: ${directory} has "
        "${Torch_CONSIDERED_VERSIONS}")
    endif()
    message(FATAL_ERROR "Torch's CMake files must find its libraries: ${directory} does not"
      " (${Torch_NOT_FOUND_MESSAGE})")
  endif()
  cmake_path(SET prefix NORMALIZE "${directory}/../../..")
  file(REAL_PATH "${prefix}" real_prefix)
  set(places "TORCH_INSTALL_PREFIX=${TORCH_INSTALL_PREFIX}/include" "TORCH_LIBRARY=${TORCH_LIBRARY}"
    "c10_LIBRARY=${c10_LIBRARY}")
  if(TARGET torch)
    get_target_property(location torch LOCATION)
    if(location)
      list(APPEND places "torch=${location}")
    endif()
  endif()
  foreach(place IN LISTS places)
    string(REGEX MATCH "^([^=]*)=(.*)$" place "${place}")
    set(name "${CMAKE_MATCH_1}")
    get_filename_component(folder "${CMAKE_MATCH_2}" DIRECTORY)
    file(REAL_PATH "${folder}" real_folder)
    cmake_path(IS_PREFIX prefix "${folder}" NORMALIZE inside)
    cmake_path(IS_PREFIX real_prefix "${real_folder}" NORMALIZE really_inside)
    if(NOT inside AND NOT really_inside)
      message(FATAL_ERROR "CMake files and libraries must be of one Torch: ${name} is in ${folder}, the CMake files in "
        "${directory}; remove the build folder (make clean), and TORCH_INSTALL_PREFIX from the environment")
    endif()
  endforeach()
endfunction()

# find_package(Torch) for the Torch that was chosen. A macro: the package sets variables of the caller.
macro(longrope_find_torch)
  longrope_choose_torch(longrope_torch_directory)
  longrope_pin_torch("${longrope_torch_directory}")
  find_package(Torch ${LONGROPE_TORCH_MINIMUM} QUIET CONFIG PATHS "${longrope_torch_directory}" NO_DEFAULT_PATH)
  longrope_require_one_torch("${longrope_torch_directory}")
endmacro()
