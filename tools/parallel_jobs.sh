#!/usr/bin/env bash
# Prints how many compilers may run at once: one for each processor, as long as each has 2 GiB of memory, which is what
# a source that includes Torch takes.
set -euo pipefail

readonly KIB_PER_JOB=$((2 * 1024 * 1024))
processors=$(nproc)
available_kib=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
# A container may have less than the machine.
limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max)
if [ "$limit" != max ] && [ $((limit / 1024)) -lt "$available_kib" ]; then available_kib=$((limit / 1024)); fi

jobs=$((available_kib / KIB_PER_JOB))
[ "$jobs" -le "$processors" ] || jobs=$processors
[ "$jobs" -ge 1 ] || jobs=1
echo "$jobs"
