"""The Markdown file of a run, which is written anew after every result, and the time that is left."""

import os
import time
from pathlib import Path


class NotRun(Exception):
    """Something that cannot be measured here or now; its text says why. No failure."""


class Failed(Exception):
    """A program that ended with another status than 0, or said what it must not; its text says what is wrong."""


class Deadline:
    """The end of the run. Not thread-safe."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.start = time.monotonic()

    def passed(self):
        return time.monotonic() - self.start

    def left(self):
        return max(0.0, self.seconds - self.passed())

    def require(self, seconds):
        """Raises NotRun when less is left than `seconds`."""
        if self.left() < seconds:
            raise NotRun(f"out of time: it takes about {seconds:.0f} s, and {self.left():.0f} s are left")


class Table:
    """A table whose cells are filled as they become known; the others show "–"."""

    def __init__(self, *header):
        self.header = header
        self.rows = []

    def add(self, *cells):
        """The new row, which begins with `cells`: a dictionary from the words of the header to cells."""
        row = dict(zip(self.header, cells, strict=False))
        self.rows.append(row)
        return row

    def lines(self):
        rows = [[row.get(word, "–") for word in self.header] for row in self.rows]
        return ["| " + " | ".join(map(str, cells)) + " |" for cells in (self.header, ["---"] * len(self.header), *rows)]


class Section:
    """One section of the report: lines and tables in the order in which they were added."""

    def __init__(self, title, report):
        self.title = title
        self.report = report
        self.parts = []
        self.failed = 0
        self.not_run = 0
        self.found = 0  # results that were told
        self.begun = False

    def explain(self, text):
        self.parts.append([text])
        self.report.write()

    def say(self, *lines):
        self.found += 1
        self.parts.append([*lines])
        self.report.write()

    def fill(self, row, cells):
        """A result: cells of a row of one of the section's tables."""
        self.found += 1
        row.update(cells)
        self.report.write()

    def table(self, *header):
        table = Table(*header)
        self.parts.append(table)
        return table

    def fail(self, why):
        self.failed += 1
        self.explain(f"**FAILED**: {why}")

    def leave_out(self, what, why):
        self.not_run += 1
        self.explain(f"NOT RUN: {what}{why}")

    def trouble(self, what, error):
        """Tells an exception as what it is: something left out, or a failure."""
        if isinstance(error, NotRun):
            self.leave_out(what, error)
        else:
            kind = "" if isinstance(error, Failed) else f"{type(error).__name__}: "
            self.fail(f"{what}{kind}{error}")

    def verdict(self):
        if not self.begun:
            return "not begun"
        if self.failed:
            return f"FAILED ({self.failed})"
        if self.not_run:
            return "parts of it NOT RUN" if self.found else "NOT RUN"
        return "done"

    def lines(self):
        lines = [f"## {self.title}"]
        for part in self.parts:
            lines += ["", *(part.lines() if isinstance(part, Table) else part)]
        return [*lines, ""]


class Report:
    """`write` replaces the file as a whole, so that a run that is cut off leaves what it had found."""

    def __init__(self, path, title, titles, deadline):
        self.path = Path(path)
        self.title = title
        self.deadline = deadline
        self.sections = [Section(title, self) for title in titles]
        self.write()

    def failed(self):
        return sum(section.failed for section in self.sections)

    def write(self):
        verdicts = Table("section", "verdict")
        for section in self.sections:
            verdicts.add(section.title, section.verdict())
        lines = [f"# {self.title}", "", f"{self.deadline.passed():.0f} s of {self.deadline.seconds:.0f} s. "
                 f"Failures: {self.failed()}.", "", *verdicts.lines(), ""]
        for section in self.sections:
            if section.begun:
                lines += section.lines()
        temporary = self.path.with_name(self.path.name + ".new")
        temporary.write_text("\n".join(lines), encoding="utf-8")
        os.replace(temporary, self.path)
