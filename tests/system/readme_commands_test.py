"""README.md followed from top to bottom: every command as printed, on a small checkpoint made here.

Commands are run by bash in the order of the README, in a folder where the paths that it names lead to the project. What
is replaced stands in SUBSTITUTIONS; a block that is run elsewhere stands in ELSEWHERE with the place. A block that is in
neither is run, so a new one cannot be forgotten.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import sqlite3
import subprocess
import sys

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

ROOT = pathlib.Path(os.environ["LONGROPE_SOURCE_DIR"])
BIN = pathlib.Path(os.environ["LONGROPE_BINARY_DIR"])
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXT = ROOT / "models" / "byte-llama" / "text" / "train.txt"
PATIENCE_SECONDS = 900  # for each block; nothing passes because of it
ORIGINAL, BOOKS, BOOK_CHARACTERS = 4096, 8, 60_000

ELSEWHERE = {
    "make demo": "the two commands themselves",
    "export PATH=": "the environment of every command here",
    "build/demo/": "tests/system/transformers_export_test.py, on an export of its own",
    "from transformers import": "tests/system/transformers_export_test.py",
    "longrope check-engine": "tests/system/check_engine_test.py: random weights hardly tell factors from none",
    "make progressive": "bench/results and docs/results hold its last run; the line before it is run below",
}


def blocks():
    """(language, text) of every fenced block of the README, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def is_elsewhere(text):
    return any(mark in text for mark in ELSEWHERE)


def write_checkpoint(directory):
    """A Llama of 4,096 positions with random weights and its tokenizer; large enough to be told from chance."""
    directory.mkdir(parents=True)
    text = TEXT.read_text(encoding="utf-8")[:400_000]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([text], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "add_bos_token": True}))
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=tokenizer.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                         num_attention_heads=2, num_key_value_heads=1, head_dim=16, max_position_embeddings=ORIGINAL,
                         bos_token_id=0, eos_token_id=None, pad_token_id=None, initializer_range=0.3)
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(directory)


def write_gguf(path):
    """As much of the checkpoint's GGUF file as tools/export_gguf.py looks at."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_rope_dimension_count(16)
    for name in ("token_embd.weight", "output.weight"):
        writer.add_tensor(name, np.zeros((2, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    for name in ("tools", "configs", "models", "docs", "schemas"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "build").mkdir()
    (folder / "build" / "bin").symlink_to(BIN)
    write_checkpoint(folder / "checkpoints" / "my-llama")
    text = TEXT.read_text(encoding="utf-8")
    with open(folder / "books.jsonl", "w", encoding="utf-8") as file:
        for book in range(BOOKS):
            begin = book * BOOK_CHARACTERS
            file.write(json.dumps({"text": text[begin : begin + BOOK_CHARACTERS]}) + "\n")
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def substituted(text, folder):
    """A block as it is run here. Only paths, addresses and the cost of training are replaced."""
    port = free_port()
    for found, replacement in (
            ("/models/my-llama", f"{folder}/checkpoints/my-llama"),
            ("--model-root /models", f"--model-root {folder}/checkpoints"),
            (".venv/bin/python", sys.executable),
            ("tools/install_dependencies.sh", "true"),  # what the tests use is there
            ("tcp://0.0.0.0:5555", f"tcp://0.0.0.0:{port}"), ("tcp://HOST:5555", f"tcp://127.0.0.1:{port}"),
            ("--steps 400 --batch-size 32", "--steps 2 --batch-size 1"),
            # The newest worker of this search: other tests may run beside. A person takes a moment to type.
            ("kill -9 $(pgrep -n longrope-worker)",
             "until pgrep -P $! longrope-worker >/dev/null; do sleep 0.05; done\nkill -9 $(pgrep -n -P $! longrope-worker)"),
    ):
        text = text.replace(found, replacement)
    return text


def before(text, folder):
    """What the README takes for granted: a new database, two searches' factors, documents to train on, two terminals."""
    if "longrope coordinator" in text:  # a terminal for each
        (folder / "my.db").rename(folder / "first.db")
        return text.replace("--insecure-network ", "--insecure-network & ") + "wait\n"
    if "kill -9" in text:
        (folder / "my.db").unlink()
    if "short.json" in text:
        best = json.loads((folder / "best.json").read_text())
        (folder / "long.json").write_text(json.dumps(best))
        long = best["factors"][0]
        best["factors"] = [{"id": "short", "target_len": ORIGINAL, "lambda": [1.0] * len(long["lambda"]), "n_hat": 0,
                            "mscale": long["mscale"]}]
        (folder / "short.json").write_text(json.dumps(best))
    if "--base my-llama.gguf" in text:
        write_gguf(folder / "my-llama.gguf")
    if "train.safetensors" in text:
        shutil.copyfile(folder / "books-search.safetensors", folder / "train.safetensors")
    return text


def run(text, folder):
    done = subprocess.run(["bash", "-c", "set -e -o pipefail\n" + text], cwd=folder, capture_output=True, text=True,
                          timeout=PATIENCE_SECONDS, check=False,
                          env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"})
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


def test_every_command_of_the_readme_works_as_printed(folder):
    assert all(any(mark in text for _, text in blocks()) for mark in ELSEWHERE), "ELSEWHERE names what is not there"
    for language, text in blocks():
        if language == "toml":
            (folder / "my-search.toml").write_text(substituted(text, folder))
        elif language == "sql":
            with sqlite3.connect(f"file:{folder / 'my.db'}?mode=ro", uri=True) as database:
                for statement in text.split(";\n"):
                    assert not statement.strip() or database.execute(statement).fetchall(), statement
        elif not is_elsewhere(text):
            run(before(substituted(text, folder), folder), folder)


def test_a_pipeline_is_planned_on_a_machine_without_its_model(folder):
    line = re.search(r"^longrope run configs/.* --dry-run", README, re.MULTILINE)[0]
    run(line, folder)


def test_the_winner_is_where_the_readme_says(folder):
    assert (folder / "my-llama-8k" / "longrope_factors.json").exists()
    assert (folder / "my.html").read_text(encoding="utf-8").startswith("<!doctype html>")
