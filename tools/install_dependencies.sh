#!/usr/bin/env bash
# Installs what is missing to cut texts into documents, to build (default), to build and test, or to measure the
# project; does nothing when nothing is missing.
#
#   tools/install_dependencies.sh documents            # Python packages alone: no compiler, no Torch
#   tools/install_dependencies.sh [build|test|bench]   # test has everything of the two before, bench of all
#
# Debian packages come from apt-get (with sudo when not root), Python packages go to .venv in the project's folder.
# Torch: on a machine with an NVIDIA driver the CUDA build of the pinned version, elsewhere the CPU build, which is
# several gigabytes smaller. LONGROPE_TORCH=cpu or LONGROPE_TORCH=cuda decides by hand.
#
# LONGROPE_PYTHON=/path/to/python builds with the Torch of that interpreter (README, "With your own Torch, and without
# root"): then nothing is installed for Python, and without root missing Debian packages are only named.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CPU_WHEELS=https://download.pytorch.org/whl/cpu
level=${1:-build}
case $level in
  documents | build | test | bench) ;;
  *) echo "install_dependencies.sh: the argument must be documents, build, test or bench: $level" >&2; exit 2 ;;
esac
own_python=${LONGROPE_PYTHON:-}
if [ -n "$own_python" ] && [ "$level" != documents ]; then
  if [ "$level" != build ]; then
    echo "install_dependencies.sh: the tests run in .venv, with the Torch there: leave LONGROPE_PYTHON out for $level" \
      "($own_python)" >&2
    exit 2
  fi
  if [[ $own_python != /* || ! -x $own_python ]]; then
    echo "install_dependencies.sh: LONGROPE_PYTHON must be the whole path of a program: $own_python" >&2
    exit 2
  fi
fi

say() { echo "install_dependencies: $*"; }

without_comments() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$@"; }

install_debian_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "this is not Debian: install the equivalents of these packages:" $(without_comments "$@")
    return
  fi
  local missing=() package
  for package in $(without_comments "$@"); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ -n "$own_python" ] && [ "$(id -u)" -ne 0 ]; then  # who brings a Torch may bring these too, and has no sudo
    say "not installed by Debian, so the compiler must find them elsewhere: ${missing[*]}"
    return
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      say "packages are missing and there is no sudo; run as root: apt-get install ${missing[*]}" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  say "installing Debian packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
    >build/apt-get.log 2>&1 || { tail -n 20 build/apt-get.log >&2; exit 1; }
}

# make_environment FOLDER: a Python environment that works (an interrupted or moved one is made anew).
make_environment() {
  "$1/bin/python" -m pip --version >/dev/null 2>&1 && return 0
  say "making $1"
  rm -rf "$1"
  python3 -m venv "$1"
}

pip_install() {
  local environment=$1
  shift
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

install_torch() {
  local version wanted=${LONGROPE_TORCH:-}
  version=$(sed -n 's/^torch==//p' tools/requirements-build.txt)
  if [ -z "$wanted" ]; then
    wanted=cpu
    if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then wanted=cuda; fi
  fi
  say "installing torch $version ($wanted build)"
  if [ "$wanted" = cpu ]; then
    # First from the index that pip is configured with, then from PyTorch's own index of CPU wheels.
    pip_install .venv "torch==$version+cpu" 2>/dev/null && return 0
    pip_install .venv --retries 1 --timeout 30 --index-url "$CPU_WHEELS" "torch==$version+cpu" 2>/dev/null && return 0
    say "no CPU build of torch $version was found: taking the default build, which is large"
  fi
  pip_install .venv "torch==$version"
  # The CMake package of a CUDA build asks for a compiler. Whether the default wheel is a CUDA build depends on the
  # platform, so the installed one is asked.
  if .venv/bin/python -c 'import importlib.metadata; importlib.metadata.version("cuda-toolkit")' 2>/dev/null; then
    tools/install_cuda_toolkit.sh .venv/bin/python
  fi
}

# unless_done ENVIRONMENT FILE COMMAND…: runs COMMAND once for each content of the requirement FILE.
unless_done() {
  local environment=$1 file=$2 stamp content
  shift 2
  stamp="$environment/.$(basename "$file" .txt).sha256"
  content=$(sha256sum <"$file")
  [ "$(cat "$stamp" 2>/dev/null || true)" != "$content" ] || return 0
  "$@"
  echo "$content" >"$stamp"
}

install_build_requirements() {
  install_torch
  pip_install .venv -r tools/requirements-build.txt
}

install_documents_requirements() {
  say "installing what cuts texts into documents"
  pip_install .venv -r tools/requirements-documents.txt
}

install_test_requirements() {
  say "installing the test tools"
  pip_install .venv -r tools/requirements-test.txt
}

install_bench_requirements() {
  say "compiling llama.cpp, to read exports with and to measure against"
  pip_install .venv -r tools/requirements-bench.txt
}

# transformers 4 lives beside transformers 5: its own packages first, everything else from .venv.
install_transformers4() {
  say "installing transformers 4 into .venv-transformers4"
  local shared own
  shared=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  own=$(.venv-transformers4/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo "$shared" >"$own/shared_with_venv.pth"
  pip_install .venv-transformers4 -r tools/requirements-transformers4.txt
}

mkdir -p build
if [ "$level" = documents ]; then
  # Debian has these two of Python's own modules in a package.
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_debian_packages <(echo python3-venv)
  make_environment .venv
  unless_done .venv tools/requirements-documents.txt install_documents_requirements
  exit
fi
if [ "$level" != build ]; then
  install_debian_packages tools/debian-packages.txt tools/debian-packages-test.txt
else
  install_debian_packages tools/debian-packages.txt
fi
[ -z "$own_python" ] || exit 0
make_environment .venv
unless_done .venv tools/requirements-build.txt install_build_requirements
if [ "$level" != build ]; then
  unless_done .venv tools/requirements-documents.txt install_documents_requirements
  unless_done .venv tools/requirements-test.txt install_test_requirements
  make_environment .venv-transformers4
  unless_done .venv-transformers4 tools/requirements-transformers4.txt install_transformers4
fi
if [ "$level" = bench ]; then unless_done .venv tools/requirements-bench.txt install_bench_requirements; fi
