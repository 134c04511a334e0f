"""Runs the real programs for the system tests: small searches on the bundled model, killed with real signals."""

import csv
import io
import json
import os
import pathlib
import pty
import shutil
import signal
import sqlite3
import subprocess
import termios
import threading
import time

ROOT = pathlib.Path(os.environ["LONGROPE_SOURCE_DIR"])
LONGROPE = pathlib.Path(os.environ["LONGROPE_BINARY_DIR"]) / "longrope"
MODEL = ROOT / "models" / "byte-llama"
COLUMNS = 80  # of the terminal of in_terminal()
PATIENCE_SECONDS = 240  # for anything that must happen; nothing passes because of it

CONFIG = """
[run]
name = "system-test"
seed = 7
[model]
path = "{model}"
[scheduling]
heartbeat_interval_seconds = 0.2
worker_timeout_seconds = 5
lease_timeout_seconds = 60
credit = {credit}
[[stage]]
name = "short"
target_length = {length}
search_documents = "search.safetensors"
heldout_documents = "heldout.safetensors"
finalists = 2
[stage.search]
population_size = {population}
num_mutations = 3
num_crossovers = 3
num_iterations = {iterations}
num_parents = 4
generational = {generational}
lag = 4
seeds = {seeds}
attention_policies = {policies}
"""


def longrope(*arguments, check=True):
    """Runs a command to its end."""
    done = subprocess.run([LONGROPE, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    if check and done.returncode != 0:
        raise AssertionError(f"longrope {arguments} exited {done.returncode}: {done.stderr}")
    return done


def in_terminal(*arguments, shown_on):
    """Runs a command whose output `shown_on` ("stdout" or "stderr") is a terminal of 80 columns; what was written there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, COLUMNS))
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, shown_on: theirs}
    process = subprocess.Popen([LONGROPE, *map(str, arguments)], **streams)
    os.close(theirs)
    killer = threading.Timer(PATIENCE_SECONDS, process.kill)
    killer.start()
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    code = process.wait()
    killer.cancel()
    assert code == 0, shown.decode()
    return shown.decode().replace("\r\n", "\n")


def write_search(folder, length=640, population=6, iterations=2, generational="true", credit=2,
                 seeds='["yarn", "ntk"]', policies='["none", "su"]', documents=2, model=MODEL):
    """A configuration and its documents in `folder`; returns the configuration's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("search", "heldout"):
        longrope("documents", "--length", length, "--count", documents, "--out", folder / f"{name}.safetensors",
                 MODEL / "text" / f"{name}.txt")
    config = folder / "search.toml"
    config.write_text(CONFIG.format(model=model, length=length, population=population, iterations=iterations,
                                    generational=generational, credit=credit, seeds=seeds, policies=policies))
    return config


def write_gradient_search(folder, passes=50, documents=6, space="full"):
    """The same for a search by gradients, 8 to 15 of them."""
    config = write_search(folder, documents=documents)
    head = config.read_text().split("[stage.search]")[0]
    config.write_text(head + f'[stage.search]\nmethod = "gradient"\nspace = "{space}"\n[stage.stop]\nmax_passes = {passes}\n')
    return config


def history(database):
    """What must not depend on workers, deaths and restarts, byte for byte."""
    return longrope("history", "--db", database, "--format", "csv", "--no-timing").stdout


def rows(history_text):
    return list(csv.DictReader(io.StringIO(history_text)))


def best(database):
    return json.loads(longrope("best", "--db", database, "--json").stdout)


class Process:
    """A running command; killed at the end of the block if it is still there."""

    def __init__(self, *arguments):
        self.log = []
        self.popen = subprocess.Popen([LONGROPE, *map(str, arguments)], stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        self.popen.stdout.close()

    def children(self):
        path = pathlib.Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
        return [int(child) for child in path.read_text().split()]

    def kill(self, signal_number=signal.SIGKILL):
        self.popen.send_signal(signal_number)

    def finish(self):
        """Waits for the end; returns (exit code, output)."""
        output, _ = self.popen.communicate(timeout=PATIENCE_SECONDS)
        return self.popen.returncode, output

    def read_until(self, text):
        for line in self.popen.stdout:
            self.log.append(line)
            if text in line:
                return line
        raise AssertionError(f"ended without {text!r}: {''.join(self.log)}")


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.05)


def query(database, sql):
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def scored(database):
    """Evaluations in the database that have a result; 0 while there is no database yet."""
    try:
        return query(database, "SELECT count(*) FROM evaluation WHERE state = 'scored'")[0][0]
    except sqlite3.OperationalError:
        return 0


def copy_model(destination):
    shutil.copytree(MODEL, destination, ignore=shutil.ignore_patterns("text"))
    return destination
