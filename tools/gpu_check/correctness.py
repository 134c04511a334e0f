"""The sections that ask whether the numbers are right: kernels, whole models, a training by two processes."""

import json
import shutil
import tempfile
from pathlib import Path

from gpu_check.checkpoints import GIBIBYTE, families
from gpu_check.programs import last_lines
from gpu_check.report import Failed, NotRun

START_SECONDS = 20  # of a process with Torch that opens the GPU and reads a small checkpoint
MACHINE_SECONDS = 60  # the machine is told even when there is no time for anything else
# Relative differences of the NLL that tests/system/transformers_families_test.py allows on the CPU.
NLL_TOLERANCES = {"fp32": 1e-5, "bf16": 2e-3}
LOSS_TOLERANCE = 1e-4  # relative; both orders of adding up gradients are right
STEPS = 4


def machine(section, programs, rehearse):
    del rehearse
    found, why = programs.transformers("device", least_seconds=MACHINE_SECONDS)
    if why:
        raise Failed(why)
    gpus = [line for line in found if "gpu" in line]
    programs.gpus = len(gpus)
    table = section.table("what", "here")
    for gpu in gpus:
        table.add("GPU", f"{gpu['gpu']}, {gpu['memory_bytes'] / GIBIBYTE:.1f} GiB, capability {gpu['capability']}")
    table.add("Torch and transformers of Python", f"{found[-1]['torch']}, {found[-1]['transformers']}")
    version = programs.options.package / "version.txt"
    if version.exists():
        table.add("package", version.read_text(encoding="utf-8").strip().replace("\n", ", "))
    if gpus and shutil.which("nvidia-smi"):
        status, out, errors = programs.ended(["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit",
                                              "--format=csv,noheader"], MACHINE_SECONDS)
        table.add("driver, highest clock, power limit", out.strip() if status == 0 else last_lines(errors))
    section.report.write()
    for arguments in (["--version"], ["devices"]):
        status, out, errors = programs.ended(programs.command("longrope", *arguments), MACHINE_SECONDS)
        if status != 0:
            raise Failed(f"longrope {arguments[0]} exited {status}: {last_lines(errors)}")
        section.say(f"`longrope {arguments[0]}`:", "", "```text", out.strip(), "```")
    if programs.options.device == "cuda" and not gpus:
        raise Failed("Torch finds no CUDA device")


def truth_table(section, programs, rehearse):
    """Both programs print what they compared; a program that fails hides nothing of the other."""
    del rehearse
    for name in ("attention_gpu_check", "cuda_kernels_gpu_check"):
        try:
            programs.deadline.require(START_SECONDS if programs.options.device == "cuda" else 0)
            status, out, errors = programs.ended(programs.command(name))
        except (NotRun, OSError) as error:
            section.trouble(f"{name}: ", error)
            continue
        if out.lstrip().startswith("NOT RUN: ") and status == 0:
            section.leave_out(f"{name}: ", out.strip().removeprefix("NOT RUN: "))
            continue
        section.say(f"`{name}`:", "", out.strip())
        if status != 0:
            section.fail(f"{name} exited {status}: {last_lines(errors or out)}")


def likelihoods(section, programs, rehearse):
    """The same tiny checkpoints, documents and angles on both sides."""
    tokens = 256 if rehearse else 2048
    section.explain(f"Sums in nats over {tokens:,} tokens of text, of random checkpoints with their own factors. "
                    "Differences are relative to transformers in the same dtype (SDPA); the last two columns are "
                    "distances from transformers in float32 with the same rounded weights.")
    table = section.table("family", "dtype", "longrope", "transformers", "difference", "allowed", "verdict",
                          "longrope from exact", "transformers from exact")
    if not rehearse:
        programs.deadline.require(2 * START_SECONDS)
    with tempfile.TemporaryDirectory(prefix="longrope-gpu-") as name:
        folder = Path(name)
        configs = families(rehearse)
        for family, config in configs.items():
            (folder / family).mkdir()
            (folder / family / "config.json").write_text(json.dumps(config), encoding="utf-8")
        documents = folder / "documents.safetensors"
        programs.longrope("documents", "--length", tokens, "--count", 1, "--out", documents,
                          programs.options.package / "text" / "heldout.txt")
        found, why = programs.transformers("families", "--folder", folder, "--documents", documents, "--tokens", tokens)
        for theirs in found:
            family, dtype = theirs["family"], theirs["dtype"]
            row = table.add(family, dtype)
            try:
                ours = programs.score(
                    folder / family, documents, "--length", tokens, "--dtype", dtype, "--angles", "hf_fp32",
                    *(["--sliding-window"] if "sliding_window" in configs[family] else []))["total"]["nll_sum"]
            except (Failed, NotRun) as error:
                section.trouble(f"{family} {dtype}: ", error)
                continue
            difference = ours / theirs["nll_sum"] - 1
            right = abs(difference) <= NLL_TOLERANCES[dtype]
            section.fill(row, {
                "longrope": f"{ours:.4f}", "transformers": f"{theirs['nll_sum']:.4f}",
                "difference": f"{difference:+.1e}", "allowed": f"{NLL_TOLERANCES[dtype]:.0e}",
                "verdict": "right" if right else "WRONG",
                "longrope from exact": f"{ours / theirs['exact'] - 1:+.1e}",
                "transformers from exact": f"{theirs['nll_sum'] / theirs['exact'] - 1:+.1e}"})
            if not right:
                section.fail(f"{family} {dtype}: the NLL is not that of transformers")
        if why:
            raise Failed(why)


def two_processes(section, programs, rehearse):
    """One training by one process and by two, which add up gradients by NCCL on GPUs and by Gloo on CPUs."""
    if not rehearse:
        if not programs.gpus or programs.gpus < 2:
            raise NotRun(f"two GPUs are needed: {programs.gpus or 0} here")
        programs.deadline.require(3 * START_SECONDS)
    tokens = 64 if rehearse else 512
    with tempfile.TemporaryDirectory(prefix="longrope-gpu-") as name:
        folder = Path(name)
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text(json.dumps(families(rehearse)["llama"]), encoding="utf-8")
        documents = folder / "documents.safetensors"
        programs.longrope("documents", "--length", tokens, "--eos", 257, "--count", 8, "--out", documents,
                          programs.options.package / "text" / "heldout.txt")
        losses = {}
        for processes in (1, 2):
            out = folder / f"out-{processes}"
            command = programs.command(
                "longrope", "finetune", "--model", folder / "model", "--init", "random", "--documents", documents,
                "--out", out, "--length", tokens, "--factors", "yarn", "--target-length", 8 * tokens, "--steps", STEPS,
                "--batch-size", 4, "--micro-batch-size", 2, "--learning-rate", "1e-3", "--threads",
                programs.options.threads, "--device", programs.options.device)
            if processes == 2:
                command = [programs.python, "-m", "torch.distributed.run", "--standalone", "--no-python",
                           "--nproc-per-node", "2", *command]
            programs.output(command)
            losses[processes] = [json.loads(line)["loss"]
                                 for line in (out / "training_log.jsonl").read_text(encoding="utf-8").splitlines()]
    table = section.table("step", "loss of one process", "loss of two", "difference")
    differences = []
    for step, (one, two) in enumerate(zip(losses[1], losses[2], strict=True), start=1):
        differences.append(two / one - 1)
        section.fill(table.add(step), {"loss of one process": f"{one:.6f}", "loss of two": f"{two:.6f}",
                                       "difference": f"{differences[-1]:+.1e}"})
    if not all(abs(difference) <= LOSS_TOLERANCE for difference in differences):  # NaN is none either
        section.fail(f"the losses of two processes must be those of one within {LOSS_TOLERANCE:.0e}")
