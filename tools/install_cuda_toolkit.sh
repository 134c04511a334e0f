#!/usr/bin/env bash
# Installs the CUDA compiler and headers of the same release beside a CUDA build of Torch, from NVIDIA's wheels; does
# nothing when they are there. CMake finds them through LONGROPE_PYTHON (cmake/LongropeCuda.cmake).
#
#   tools/install_cuda_toolkit.sh PYTHON
set -euo pipefail

python=${1:?usage: tools/install_cuda_toolkit.sh PYTHON}
release=$("$python" -c 'import importlib.metadata; print(importlib.metadata.version("cuda-toolkit"))' 2>/dev/null) || {
  echo "install_cuda_toolkit: the Torch of $python is not a CUDA build: it brought no cuda-toolkit" >&2
  exit 1
}
# crt and nvvm by name: nvcc asks for any release of them, and newer ones write what the assembler of this one refuses.
"$python" -m pip install --quiet --disable-pip-version-check "cuda-toolkit[nvcc,cccl,crt,nvvm]==$release"

# CMake and nvcc look for names and folders that the wheels leave out: libNAME.so without a version, and lib64.
for toolkit in "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"/nvidia/cu[0-9]*; do
  [ -x "$toolkit/bin/nvcc" ] || continue
  ln -sfn lib "$toolkit/lib64"
  for library in "$toolkit"/lib/lib*.so.*; do
    name=${library%%.so.*}.so
    [ -e "$name" ] || ln -s "$(basename "$library")" "$name"
  done
done
