# cmake -DPROGRAM=FILE -P remove_rpath.cmake: what CMake does to a program when it installs it.
file(RPATH_REMOVE FILE "${PROGRAM}")
