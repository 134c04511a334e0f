"""The sections that measure: throughput and memory beside transformers, and very long documents by two layers."""

import contextlib
import json
import re

from gpu_check.checkpoints import GIBIBYTE, LLAMA_1B, LLAMA_8B, REHEARSED, folder_for
from gpu_check.report import Failed, NotRun

PEAK_TFLOPS = 790  # what dense bfloat16 products reach on an H100 or H200
START_SECONDS = 15  # of a process that opens the GPU
BYTES_PER_SECOND = 1.5e9  # of weights that are made, written and read: a cautious guess
LENGTHS = [8192, 32768, 131072]
# Tokens per second of the 8B shape, forward, bfloat16, on one H100 or H200.
TARGETS = {131072: 11000, 1048576: 1800, 2097152: 950}
TIMED_LAYERS = 2
WARM_UP = 4096  # tokens
UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def estimated_bytes(programs, model, length):
    """What `longrope inspect-model` expects for a document, which is what refuses one that does not fit."""
    # An estimate for the CPU is what the command gives when it is not asked for another device.
    device = [] if programs.options.device == "cpu" else ["--device", programs.options.device]
    printed = programs.longrope("inspect-model", model, "--length", length, "--dtype", "bf16", *device)
    found = re.search(r"^memory estimate\s+([\d.,]+) ([KMGT]?i?B)", printed, re.MULTILINE)
    if not found:
        raise Failed("longrope inspect-model printed no memory estimate")
    return float(found[1].replace(",", "")) * UNITS[found[2]]


@contextlib.contextmanager
def checkpoint(programs, shape, lengths, layers, rehearse):
    """A folder with a random checkpoint and two documents of each length."""
    size = shape.weight_bytes(layers)
    if not rehearse:
        programs.deadline.require(START_SECONDS + size / BYTES_PER_SECOND)
    with folder_for(size) as folder:
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text(json.dumps(shape.config(layers)), encoding="utf-8")
        _, why = programs.transformers("make", "--folder", folder, "--lengths", ",".join(map(str, lengths)))
        if why:
            raise Failed(f"no checkpoint of {shape.name} could be made: {why}")
        yield folder


def gib(size):
    return f"{size / GIBIBYTE:.2f}"


def add_ours(section, programs, shape, folder, length, row, rehearse):
    """Scores both documents of a length, of which the first warms up, and fills longrope's cells by the second."""
    if not rehearse:
        programs.deadline.require(START_SECONDS + shape.weight_bytes() / 4e9 + 2 * length / shape.tokens_per_second)
    found = programs.score(folder / "model", folder / f"{length}.safetensors", "--length", length, "--dtype", "bf16",
                           "--timings")["documents"][1]
    operations = sum(phase["operations"] for phase in found["timings"].values())
    rate = operations / found["seconds"] / 1e12
    section.fill(row, {"longrope s": f"{found['seconds']:.3f}", "tokens/s": f"{length / found['seconds']:,.0f}",
                       "TFLOP/s": f"{rate:.3g}", f"of {PEAK_TFLOPS}": f"{100 * rate / PEAK_TFLOPS:.2g} %",
                       "peak GiB": gib(found["peak_memory_bytes"])})
    try:
        estimate = estimated_bytes(programs, folder / "model", length)
        beyond = 100 * (found["peak_memory_bytes"] / estimate - 1)
        section.fill(row, {"estimated GiB": f"{gib(estimate)} ({beyond:+.0f} %)"})
    except (Failed, NotRun) as error:
        section.trouble(f"estimate of {shape.name} at {length:,} tokens: ", error)
    phases = ", ".join(f"{name} {100 * phase['seconds'] / found['seconds']:.0f} %"
                       for name, phase in found["timings"].items())
    section.say(f"{shape.name}, {length:,} tokens, where the time went: {phases}.")
    return found


def add_theirs(section, programs, shape, folder, rows, ours, rehearse):
    """All lengths in one process: a document that fills the memory costs its own row only."""
    if not rehearse:
        programs.deadline.require(START_SECONDS + shape.weight_bytes() / BYTES_PER_SECOND)
    try:
        found, why = programs.transformers("speed", "--folder", folder, "--lengths", ",".join(map(str, rows)))
    except NotRun as error:
        found, why = [], ""
        section.leave_out(f"transformers, {shape.name}: ", error)
    for theirs in found:
        row, mine = rows[theirs["length"]], ours.get(theirs["length"])
        if "error" in theirs:
            section.fill(row, {"transformers s": theirs["error"]})
            continue
        section.fill(row, {"transformers s": f"{theirs['seconds']:.3f}"})
        if "peak_memory_bytes" in theirs:
            section.fill(row, {"transformers' peak GiB": gib(theirs["peak_memory_bytes"])})
        if mine:
            section.fill(row, {"times longrope's": f"{theirs['seconds'] / mine['seconds']:.2f}",
                               "NLL difference": f"{mine['nll_sum'] / theirs['nll_sum'] - 1:+.1e}"})
    if why:
        raise Failed(why)


def throughput(section, programs, rehearse):
    shapes, lengths = (REHEARSED, [64, 256]) if rehearse else ([LLAMA_1B, LLAMA_8B], LENGTHS)
    section.explain(f"Randomly initialised Llama shapes, one document, forward and NLL, bfloat16, without loading and "
                    "after another document of the same length. transformers: SDPA, logits in chunks, no cache. "
                    f"{PEAK_TFLOPS} TFLOP/s are what dense products reach on an H100; attention counts as causal. Peak "
                    "memory is what was allocated on the GPU (on the CPU: resident); in brackets what was measured "
                    "beyond the estimate.")
    table = section.table("shape", "tokens", "longrope s", "tokens/s", "TFLOP/s", f"of {PEAK_TFLOPS}", "transformers s",
                          "times longrope's", "NLL difference", "peak GiB", "estimated GiB", "transformers' peak GiB")
    for shape in shapes:
        try:
            with checkpoint(programs, shape, lengths, shape.layers, rehearse) as folder:
                rows, ours = {length: table.add(shape.name, f"{length:,}") for length in lengths}, {}
                for length, row in rows.items():
                    try:
                        ours[length] = add_ours(section, programs, shape, folder, length, row, rehearse)
                    except (Failed, NotRun) as error:
                        section.trouble(f"longrope, {shape.name} at {length:,} tokens: ", error)
                add_theirs(section, programs, shape, folder, rows, ours, rehearse)
        except (Failed, NotRun) as error:
            section.trouble(f"{shape.name}: ", error)


def targets(section, programs, rehearse):
    """Layers of one shape take the same time, so that two of them and the output give that of all."""
    shape, lengths = (REHEARSED[1], {128: 1, 512: 1}) if rehearse else (LLAMA_8B, TARGETS)
    warm_up = 64 if rehearse else WARM_UP
    times = shape.layers // TIMED_LAYERS
    section.explain(f"{shape.name} in bfloat16, forward, by {TIMED_LAYERS} of its {shape.layers} layers, which are "
                    f"alike: seconds = output + {times} × (measured − output). The embedding counts as part of the "
                    "layers, which makes them a little slower than they are. The first "
                    f"{warm_up:,} tokens of the document warm up.")
    table = section.table("tokens", "target", "tokens/s", "verdict", "measured s", "output s",
                          f"s of {shape.layers} layers", "TFLOP/s", f"of {PEAK_TFLOPS}", "peak GiB of two layers")
    with checkpoint(programs, shape, [max(lengths)], TIMED_LAYERS, rehearse) as folder:
        for length, target in lengths.items():
            row = table.add(f"{length:,}", f"≥ {target:,}")
            try:
                if not rehearse:
                    programs.deadline.require(START_SECONDS + length / target / times)
                found = programs.score(
                    folder / "model", folder / f"{max(lengths)}.safetensors", "--count", 1, "--length",
                    f"{warm_up},{length}", "--dtype", "bf16", "--timings")["lengths"][1]["total"]
            except (Failed, NotRun) as error:
                section.trouble(f"{length:,} tokens: ", error)
                continue
            output = found["timings"]["output"]
            seconds = output["seconds"] + times * (found["seconds"] - output["seconds"])
            operations = sum(phase["operations"] for phase in found["timings"].values())
            rate = (output["operations"] + times * (operations - output["operations"])) / seconds / 1e12
            section.fill(row, {
                "measured s": f"{found['seconds']:.3f}", "output s": f"{output['seconds']:.3f}",
                f"s of {shape.layers} layers": f"{seconds:.2f}", "tokens/s": f"{length / seconds:,.0f}",
                "verdict": "reached" if length / seconds >= target else "missed", "TFLOP/s": f"{rate:.3g}",
                f"of {PEAK_TFLOPS}": f"{100 * rate / PEAK_TFLOPS:.2g} %",
                "peak GiB of two layers": gib(found["peak_memory_bytes"])})
