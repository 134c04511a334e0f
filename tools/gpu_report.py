#!/usr/bin/env python3
"""Checks and measures the programs of a package (tools/check_on_gpu prepare) on one GPU: are the kernels, whole models
and trainings right, how fast are long documents, how much memory do they take?

Writes one Markdown file, anew after each result. A section for which no time is left says so; one that fails hides
nothing of those after it. Exits with 0 when nothing failed, with 1 otherwise.

  tools/check_on_gpu run --minutes 6
  tools/check_on_gpu run --only targets --minutes 5 --out targets.md
  tools/check_on_gpu run --device cpu --rehearse       # tiny shapes: tries this script, not a GPU
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from gpu_check.correctness import likelihoods, machine, truth_table, two_processes
from gpu_check.programs import Programs
from gpu_check.report import Deadline, NotRun, Report
from gpu_check.speed import targets, throughput

SECTIONS = {
    "machine": ("Machine", machine),
    "truth": ("Truth table of attention and the CUDA kernels", truth_table),
    "nll": ("NLL beside transformers", likelihoods),
    "processes": ("Two data-parallel processes", two_processes),
    "throughput": ("Throughput and memory", throughput),
    "targets": ("Targets at 128k, 1M and 2M tokens", targets),
}


def measure(chosen, report, programs, rehearse):
    """Every section in turn; what one of them raises ends only that one, but for a machine without the device."""
    lost = None
    for name, section in zip(chosen, report.sections, strict=True):
        print(f"{programs.deadline.passed():5.0f} s  {section.title}", flush=True)
        section.begun = True
        try:
            if lost:
                raise NotRun(lost)
            if name != "machine" and programs.deadline.left() <= 0:
                raise NotRun("out of time")
            SECTIONS[name][1](section, programs, rehearse)
        except Exception as error:  # the report must be whole whatever a section does
            section.trouble("", error)
            if name == "machine" and programs.gpus == 0 and programs.options.device == "cuda":
                lost = "there is no CUDA device"
        report.write()


def main():
    parser = argparse.ArgumentParser(prog="check_on_gpu run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=6, help="of the whole run (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("gpu-check.md"), help="(default: %(default)s)")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, comma-separated, beside the machine's "
                        "(default: %(default)s)")
    parser.add_argument("--package", type=Path, required=True, help="folder of the programs")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="(default: %(default)s)")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes and short documents")
    parser.add_argument("--threads", type=int, default=min(8, os.cpu_count() or 1),
                        help="CPU threads of each process (default: %(default)s)")
    options = parser.parse_args()
    options.package = options.package.resolve()
    chosen = options.only.split(",")
    unknown = set(chosen) - set(SECTIONS)
    if unknown:
        parser.error(f"--only must be among {', '.join(SECTIONS)}: {', '.join(sorted(unknown))}")
    if not (options.package / "bin" / "longrope").exists():
        parser.error(f"the package must hold bin/longrope: {options.package} (tools/check_on_gpu prepare makes it)")
    if (options.device == "cpu") != options.rehearse:
        parser.error("--rehearse and --device cpu belong together: full shapes take hours on a CPU")
    chosen = [name for name in SECTIONS if name in chosen or name == "machine"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the process that runs is ended too
    deadline = Deadline(60 * options.minutes)
    title = "Rehearsal on the CPU" if options.rehearse else "Check on a GPU"
    report = Report(options.out, title, [SECTIONS[name][0] for name in chosen], deadline)
    measure(chosen, report, Programs(options, deadline), options.rehearse)
    print(f"written to {options.out}: {report.failed()} failures")
    sys.exit(1 if report.failed() else 0)


if __name__ == "__main__":
    main()
