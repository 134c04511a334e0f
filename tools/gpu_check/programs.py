"""Starts the programs of a package, and tasks with transformers, each in a process of its own."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from gpu_check.report import Failed, NotRun

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
ERROR_LINES = 4  # of a program that failed, in the report
PATIENCE_SECONDS = 5  # with a process that was told to end
MINIMUM_SECONDS = 2  # nothing that starts a process is worth beginning with less


def library_folders(package):
    """Folders of the package's, Torch's and NVIDIA's libraries, as LD_LIBRARY_PATH. Torch is not imported for it."""
    torch = Path(importlib.util.find_spec("torch").origin).parent
    folders = [package / "lib", torch / "lib", *sorted(torch.parent.glob("nvidia/*/lib"))]
    return ":".join([*map(str, folders), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])


def last_lines(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-ERROR_LINES:]) or "it printed nothing"


def stop(process):
    """Ends a process and its children. torchrun's are in sessions of their own, and end when it is told to."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_SECONDS)


class Programs:
    """`options`: those of the command line. Every process ends with the run's time, its children with it."""

    def __init__(self, options, deadline):
        self.options = options
        self.deadline = deadline
        self.python = sys.executable
        self.libraries = library_folders(options.package)
        self.gpus = None  # counted by the section of the machine

    def program(self, name):
        return self.options.package / "bin" / name

    def command(self, name, *arguments):
        # By env, so that Python programs which start ours keep the libraries of their own.
        return ["env", f"LD_LIBRARY_PATH={self.libraries}", str(self.program(name)), *map(str, arguments)]

    def ended(self, command, least_seconds=0.0):
        """(status, standard output, standard error) of a command."""
        seconds = max(self.deadline.left(), least_seconds)
        if seconds < MINIMUM_SECONDS:
            raise NotRun("out of time")
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
                                       start_new_session=True, env=os.environ | OFFLINE)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                raise NotRun(f"out of time: stopped after {seconds:.0f} s") from None
            finally:
                stop(process)
            out.seek(0)
            errors.seek(0)
            return process.returncode, out.read(), errors.read()

    def output(self, command):
        status, out, errors = self.ended(command)
        if status != 0:
            raise Failed(f"{Path(command[2] if command[0] == 'env' else command[0]).name} exited {status}: "
                         f"{last_lines(errors + out)}")
        return out

    def longrope(self, *arguments):
        return self.output(self.command("longrope", *arguments))

    def score(self, model, documents, *arguments):
        """The report of `longrope score --json`."""
        return json.loads(self.longrope(
            "score", "--model", model, "--documents", documents, "--device", self.options.device, "--threads",
            self.options.threads, "--json", *arguments))

    def transformers(self, task, *arguments, least_seconds=0.0):
        """The JSON objects that a task of transformers_tasks.py printed, and why it printed no more ("": it ended)."""
        script = Path(__file__).with_name("transformers_tasks.py")
        status, out, errors = self.ended([self.python, "-B", str(script), task, "--device", self.options.device,
                                          "--threads", str(self.options.threads), *map(str, arguments)], least_seconds)
        found = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        return found, "" if status == 0 else f"transformers exited {status}: {last_lines(errors)}"
