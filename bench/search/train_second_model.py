#!/usr/bin/env python3
"""Trains the second model of the search bench, which differs from the bundled one where it matters for factors:
rope_theta 500,000, head_dim 32, four query heads for each key head, 1,024 positions. 4.95 M parameters, a byte's value
is its token, 256 begins a document.

    python bench/search/train_second_model.py                  # build/byte-llama-1024, 60 to 90 minutes on two cores
    python bench/search/train_second_model.py                  # the same again goes on where it was stopped

Samples are bytes from random places of models/byte-llama/text/train.txt. Their places and the learning rate are
functions of seed and update, so that a stopped training goes on as it would have. Writes a Hugging Face directory with
the weights in bfloat16, a link `text` to the texts, and training_log.jsonl.
"""

import argparse
import json
import math
import os
import pathlib
import signal
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BOS, EOS = 256, 257
SHAPE = {"hidden_size": 256, "intermediate_size": 832, "num_hidden_layers": 6, "num_attention_heads": 8,
         "num_key_value_heads": 2, "head_dim": 32}
TINY = {**SHAPE, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
ROPE_THETA = 500_000.0
HELDOUT_SAMPLES = 16
LOGGED_EVERY = 20  # updates


def learning_rate(step, arguments):
    """Linear warm-up, constant, then linear to zero in the last three tenths; `step` is 0-based."""
    warm = min(1.0, (step + 1) / arguments.warmup_steps)
    cool = min(1.0, (arguments.steps - step) / max(1.0, 0.3 * arguments.steps))
    return arguments.learning_rate * min(warm, cool)


def sample_starts(seed, step, count, last):
    """Places where the samples of an update begin, at most `last`."""
    import numpy as np

    return np.random.default_rng([seed, step]).integers(0, last + 1, size=count)


def samples(text, starts, length):
    """[samples, length]: BOS and the bytes from each start."""
    import torch

    rows = torch.empty((len(starts), length), dtype=torch.long)
    rows[:, 0] = BOS
    for row, start in zip(rows, starts, strict=True):
        row[1:] = text[start:start + length - 1]
    return rows


def read_text(path):
    import torch

    return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)


def make_model(arguments):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(arguments.seed)
    config = LlamaConfig(**(TINY if arguments.tiny else SHAPE), vocab_size=EOS + 1, bos_token_id=BOS, eos_token_id=EOS,
                         max_position_embeddings=arguments.length, rms_norm_eps=1e-5, tie_word_embeddings=False,
                         rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA})
    config._attn_implementation = "sdpa"
    return LlamaForCausalLM(config).float()


def make_optimizer(model, arguments):
    import torch

    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim == 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": arguments.weight_decay},
                              {"params": vectors, "weight_decay": 0.0}], lr=0.0, betas=(0.9, 0.95), fused=True)


def write_state(file, model, optimizer, step, identity):
    import torch

    fresh = file.with_suffix(".fresh")
    torch.save({"identity": identity, "step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()},
               fresh)
    os.replace(fresh, file)


def read_state(file, model, optimizer, identity):
    """The update to go on with: 0 when there is no state."""
    import torch

    if not file.exists():
        return 0
    state = torch.load(file, weights_only=True)
    if state["identity"] != identity:
        raise SystemExit(f"the training that is continued must have the same settings: {state['identity']} instead of "
                         f"{identity} ({file})")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


def update(model, optimizer, text, step, arguments):
    """One step of AdamW; returns the loss before it."""
    import torch

    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, arguments)
    starts = sample_starts(arguments.seed, step, arguments.batch_size, len(text) - arguments.length + 1)
    rows = samples(text, starts, arguments.length)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.arithmetic == "bf16"):
        loss = model(rows, labels=rows).loss
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if not math.isfinite(loss.item()) or not math.isfinite(norm.item()):
        raise SystemExit(f"the loss is not finite at update {step}: {loss.item()}, gradient norm {norm.item()}")
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def heldout_perplexity(model, text, length):
    import torch

    spread = [index * (len(text) - length + 1) // (HELDOUT_SAMPLES - 1) for index in range(HELDOUT_SAMPLES)]
    with torch.no_grad():
        losses = [model(rows, labels=rows).loss.item() for rows in samples(text, spread, length).split(1)]
    return math.exp(sum(losses) / len(losses))


def write_model(model, arguments, final):
    import torch

    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.to(torch.bfloat16).save_pretrained(arguments.out)
    model.float().load_state_dict(kept)
    link = arguments.out / "text"
    if not link.exists():
        link.symlink_to(os.path.relpath(arguments.text, arguments.out))
    with open(arguments.out / "training_log.jsonl", "a", encoding="utf-8") as log:
        log.write(json.dumps(final) + "\n")


def train(arguments):
    import torch

    torch.set_num_threads(arguments.threads)
    text = read_text(arguments.text / "train.txt")
    model = make_model(arguments)
    optimizer = make_optimizer(model, arguments)
    identity = {key: getattr(arguments, key) for key in ("seed", "steps", "batch_size", "length", "learning_rate",
                                                         "warmup_steps", "weight_decay", "arithmetic", "tiny")}
    arguments.out.mkdir(parents=True, exist_ok=True)
    state = arguments.out / "training_state.pt"
    begin = read_state(state, model, optimizer, identity)
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters, update {begin} of {arguments.steps}",
          flush=True)
    stopped = []
    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, lambda *_: stopped.append(True))
    started = written = time.monotonic()
    for step in range(begin, arguments.steps):
        loss = update(model, optimizer, text, step, arguments)
        now = time.monotonic()
        if (step + 1) % LOGGED_EVERY == 0 or step + 1 == arguments.steps:
            seconds = (now - started) / (step + 1 - begin)
            line = {"step": step + 1, "loss": round(loss, 4), "seconds_per_step": round(seconds, 3)}
            with open(arguments.out / "training_log.jsonl", "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            print(f"{line}, {(arguments.steps - step - 1) * seconds / 60:.1f} minutes left", flush=True)
        if stopped or now - written > 60 * arguments.checkpoint_minutes:
            write_state(state, model, optimizer, step + 1, identity)
            written = now
        if stopped and step + 1 < arguments.steps:
            sys.exit("stopped; the same command goes on")
    write_state(state, model, optimizer, arguments.steps, identity)
    heldout = read_text(arguments.text / "heldout.txt")
    final = {"heldout_perplexity": heldout_perplexity(model, heldout, arguments.length),
             "tokens": arguments.steps * arguments.batch_size * arguments.length}
    write_model(model, arguments, final)
    print(f"{final}\nmodel: {arguments.out}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=pathlib.Path, default=ROOT / "build" / "byte-llama-1024", help="(default: build/byte-llama-1024)")
    add("--text", type=pathlib.Path, default=ROOT / "models" / "byte-llama" / "text",
        help="folder with train.txt and heldout.txt (default: models/byte-llama/text)")
    add("--steps", type=int, default=2500, help="updates (default: %(default)s)")
    add("--batch-size", type=int, default=8, help="samples of an update (default: %(default)s)")
    add("--length", type=int, default=1024, help="tokens of a sample (default: %(default)s)")
    add("--learning-rate", type=float, default=1.5e-3, help="peak (default: %(default)s)")
    add("--warmup-steps", type=int, default=100, help="(default: %(default)s)")
    add("--weight-decay", type=float, default=0.1, help="of matrices (default: %(default)s)")
    add("--arithmetic", choices=("bf16", "fp32"), default="bf16",
        help="bf16: autocast over float32 weights; fp32 where the CPU has no bfloat16 products (default: %(default)s)")
    add("--seed", type=int, default=1, help="of weights and samples (default: %(default)s)")
    add("--threads", type=int, default=2, help="(default: %(default)s)")
    add("--checkpoint-minutes", type=float, default=3, help="between states on disk (default: %(default)s)")
    add("--tiny", action="store_true", help="two layers of width 64, to try the script")
    arguments = parser.parse_args()
    arguments.out, arguments.text = arguments.out.resolve(), arguments.text.resolve()
    if min(arguments.steps, arguments.batch_size, arguments.warmup_steps) < 1 or arguments.length < 2:
        parser.error("steps, batch size and warm-up must be at least 1, a sample 2 tokens")
    train(arguments)


if __name__ == "__main__":
    main()
