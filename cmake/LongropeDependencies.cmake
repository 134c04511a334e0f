# Libraries of everything but the worker. Debian's package names are in tools/debian-packages.txt.

find_package(Threads REQUIRED)
find_package(CURL 7.85 REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(SQLite3 REQUIRED)
find_package(SQLiteCpp REQUIRED CONFIG)
find_package(nlohmann_json 3.11 REQUIRED CONFIG)
find_package(CLI11 REQUIRED CONFIG)
find_package(fmt REQUIRED CONFIG)
find_package(spdlog REQUIRED CONFIG)
find_package(PkgConfig REQUIRED)
pkg_check_modules(libyaml REQUIRED IMPORTED_TARGET yaml-0.1>=0.2)
pkg_check_modules(tomlplusplus REQUIRED IMPORTED_TARGET tomlplusplus)
pkg_check_modules(libzmq REQUIRED IMPORTED_TARGET libzmq>=4.3)
find_path(LONGROPE_CPPZMQ_INCLUDE_DIR zmq.hpp REQUIRED)
find_path(LONGROPE_MSGPACK_INCLUDE_DIR msgpack.hpp REQUIRED)

# ZeroMQ's C++ interface is one header beside libzmq.
add_library(longrope_zmq INTERFACE)
target_include_directories(longrope_zmq SYSTEM INTERFACE "${LONGROPE_CPPZMQ_INCLUDE_DIR}")
target_link_libraries(longrope_zmq INTERFACE PkgConfig::libzmq)

# MessagePack is headers only; Boost is needed by its optional parts alone.
add_library(longrope_msgpack INTERFACE)
target_include_directories(longrope_msgpack SYSTEM INTERFACE "${LONGROPE_MSGPACK_INCLUDE_DIR}")
target_compile_definitions(longrope_msgpack INTERFACE MSGPACK_NO_BOOST)

# Boost.Math is headers only.
find_path(LONGROPE_BOOST_INCLUDE_DIR boost/math/distributions/students_t.hpp REQUIRED)
add_library(longrope_boost_math INTERFACE)
target_include_directories(longrope_boost_math SYSTEM INTERFACE "${LONGROPE_BOOST_INCLUDE_DIR}")
