# Sourced by tools/check_on_gpu: the folder that is carried to the machine with a GPU. The caller has set PYTHON, the
# interpreter whose Torch the programs are linked with, and has the functions say and fail.
# shellcheck shell=bash

# What the target has of its own. Libraries of glibc work only beside the loader of the same glibc, libresolv too. An
# older libstdc++ or libgcc_s than the target's would come before it for everything in the process, NVIDIA's driver
# among it; a newer one is compatible with what asks for an older. libcuda is part of the driver.
readonly GLIBC='ld-linux-x86-64|lib(c|m|pthread|dl|rt|resolv|util|anl|mvec)'
readonly BASE_LIBRARIES="^(linux-vdso|$GLIBC|libstdc\\+\\+|libgcc_s|libcuda)\\.so"

# bytes_of SIZE: 48MiB as a number.
bytes_of() {
  numfmt --from=iec-i "${1%B}" 2>/dev/null || fail "--max-size must be a size such as 48MiB: $1"
}

# require_size FOLDER LIMIT
require_size() {
  local size limit
  size=$(du -sb --apparent-size "$1" | cut -f 1)
  limit=$(bytes_of "$2")
  say "$1: $(numfmt --to=iec-i --format=%.1f "$size")B"
  [ "$size" -le "$limit" ] || fail "the package must not be larger than --max-size $2: $size bytes"
}

# wheel_folders: those of Torch's and NVIDIA's libraries, as LD_LIBRARY_PATH; gpu_report.py finds the target's likewise.
wheel_folders() {
  "$PYTHON" -c 'import pathlib, torch
torch = pathlib.Path(torch.__file__).parent
print(*[torch / "lib", *sorted(torch.parent.glob("nvidia/*/lib"))], sep=":")'
}

# copy_libraries PROGRAM FOLDER WHEELS: libraries that neither the wheels nor the base system bring.
copy_libraries() {
  local name arrow path
  while read -r name arrow path _; do
    if [ "$arrow" != '=>' ] || [[ $name =~ $BASE_LIBRARIES ]]; then continue; fi
    case $path in
      not) fail "$1 needs $name, which is not there" ;;
      */site-packages/*) ;;
      *) install -m 644 "$path" "$2/$name" ;;
    esac
  done < <(LD_LIBRARY_PATH=$3 ldd "$1")
}

# require_loads PROGRAM LIBRARIES WHEELS: with the folders that it will be given, all libraries and symbols are found,
# none of them by luck on this machine.
require_loads() {
  local report name arrow path
  report=$(LD_LIBRARY_PATH=$2:$3 ldd -r "$1" 2>&1 | grep -v '^[[:space:]]*libcuda\.so\.1 => not found' || true)
  if grep -E 'not found|undefined symbol' <<<"$report" >&2; then fail "$1 must load completely"; fi
  # Another Python than the one that the wheel was installed for must do.
  if grep -E 'libpython|libtorch_python' <<<"$report" >&2; then fail "$1 must not need Python"; fi
  while read -r name arrow path _; do
    if [ "$arrow" != '=>' ] || [[ $name =~ $BASE_LIBRARIES ]]; then continue; fi
    case $path in
      "$2"/* | */site-packages/*) ;;
      *) fail "$1 takes $name from this machine: $path" ;;
    esac
  done <<<"$report"
}

# newest_version PREFIX FILE…: the newest version of symbols with that prefix which the files need.
newest_version() {
  local prefix=$1
  shift
  objdump -T "$@" 2>/dev/null | grep -o "\b${prefix}_[0-9][0-9.]*" | sort -uV | tail -n 1
}

# make_package FOLDER PROGRAM…
make_package() {
  local folder=$1 program copy wheels
  shift
  rm -rf "$folder"
  mkdir -p "$folder/bin" "$folder/lib" "$folder/text" "$folder/tools"
  wheels=$(wheel_folders)
  for program in "$@"; do
    copy=$folder/bin/$(basename "$program")
    strip --strip-unneeded -o "$copy" "$program"
    # The paths of this machine would hide what LD_LIBRARY_PATH leaves out.
    cmake -DPROGRAM="$copy" -P tools/gpu_check/remove_rpath.cmake >/dev/null
    copy_libraries "$copy" "$folder/lib" "$wheels"
  done
  for copy in "$folder"/bin/*; do require_loads "$copy" "$folder/lib" "$wheels"; done
  cp models/byte-llama/text/heldout.txt "$folder/text"
  cp tools/check_on_gpu tools/gpu_report.py "$folder/tools"
  mkdir "$folder/tools/gpu_check"
  cp tools/gpu_check/*.py "$folder/tools/gpu_check"
  say "$(find "$folder/lib" -type f | wc -l) libraries beside $# programs; they need" \
    "$(newest_version GLIBC "$folder"/bin/* "$folder"/lib/*), $(newest_version GLIBCXX "$folder"/bin/* "$folder"/lib/*)"
}
