# Sourced by tools/check_cuda_build and tools/check_on_gpu: a CUDA Torch with its toolkit in an environment of its own,
# and a build against it. The caller has set FOLDER, where all of it goes, and PYTHON=$FOLDER/venv/bin/python, and has
# the functions say and fail.
# shellcheck shell=bash

version_of() { "$PYTHON" -c 'import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))' "$1"; }

# install_torch VERSION: with the CUDA compiler and headers of its release.
install_torch() {
  mkdir -p "$FOLDER"
  [ -x "$PYTHON" ] || python3 -m venv "$FOLDER/venv"
  if [ "$(version_of torch 2>/dev/null)" != "$1" ]; then
    say "installing torch $1 with CUDA"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check "torch==$1"
  fi
  tools/install_cuda_toolkit.sh "$PYTHON"
}

# configure ARCHITECTURES [OPTION…]: as in "80;90".
configure() {
  local architectures=$1
  shift
  cmake -S . -B "$FOLDER/build" -G Ninja --log-level=STATUS -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_RUNTIME_OUTPUT_DIRECTORY="$FOLDER/build/bin" -DLONGROPE_PYTHON="$PYTHON" \
    -DCMAKE_CUDA_ARCHITECTURES="$architectures" "$@" >"$FOLDER/configure.log" 2>&1 \
    || { tail -n 40 "$FOLDER/configure.log" >&2; fail "CMake does not accept this LibTorch ($FOLDER/configure.log)"; }
  grep -F 'CUDA kernels:' "$FOLDER/configure.log" | grep -F 'linked into the worker' \
    || fail "the kernels are not linked into the worker ($FOLDER/configure.log)"
}

# build TARGET…
build() {
  cmake --build "$FOLDER/build" -j "$(tools/parallel_jobs.sh)" --target "$@" >"$FOLDER/build.log" 2>&1 \
    || { tail -n 40 "$FOLDER/build.log" >&2; fail "these do not build: $* ($FOLDER/build.log)"; }
}
