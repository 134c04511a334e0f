"""Shared by the benches: paths of the program and the results, a measurement in its own process, the machine's name."""

import json
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
LONGROPE = ROOT / "build" / "bin" / "longrope"
RESULTS = ROOT / "bench" / "results"
MEBIBYTE = 2**20


def measure(command):
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(finished.stdout)


def print_measurement(nll_sum, scored_tokens, seconds):
    """Prints the measurement of this process as the "total" of `longrope score --json`."""
    # Not getrusage: its maximum survives exec and would be that of the process which started this one.
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps({"nll_sum": nll_sum, "scored_tokens": scored_tokens, "seconds": seconds, "peak_memory_bytes": peak}))


def estimated_bytes(folder, length, options=()):
    printed = subprocess.run([str(LONGROPE), "inspect-model", str(folder / "model"), "--length", str(length), *options],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
    line = next(line for line in printed.splitlines() if line.startswith("memory estimate"))
    number, unit = line.split()[2:4]
    return float(number) * {"KiB": 2**10, "MiB": MEBIBYTE, "GiB": 2**30}[unit]


def output_of(command):
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return finished.stdout.strip()


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
