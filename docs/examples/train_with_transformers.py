#!/usr/bin/env python3
"""Fine-tunes a hand-off of a LongRoPE pipeline with transformers' Trainer: the command of a finetune stage.

    [[stage]]
    kind = "finetune"
    name = "tune-2048"
    documents = "train-2048.safetensors"
    command = ["python", "/path/to/train_with_transformers.py"]
    steps = 400
    batch_size = 32
    learning_rate = 2e-5

The pipeline names the hand-off in LONGROPE_HAND_OFF and expects a model directory at LONGROPE_CHECKPOINT. config.json
of the model handed off carries the factors, one table for all lengths, so they need no attention here. manifest.json
always has steps, batch_size, learning_rate, schedule and seed; the other settings only if the stage gives them.
Needs transformers, accelerate and safetensors.
"""

import json
import os
import pathlib
import shutil
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments


def samples(file: pathlib.Path, length: int) -> list[dict[str, torch.Tensor]]:
    """The first `length` tokens of each document."""
    documents = load_file(file)
    tokens = [documents[name][:length].long() for name in sorted(documents) if not name.endswith(".scored")]
    return [{"input_ids": sample, "labels": sample} for sample in tokens]


def main() -> None:
    hand_off = pathlib.Path(os.environ["LONGROPE_HAND_OFF"])
    manifest = json.loads((hand_off / "manifest.json").read_text())
    settings = manifest["settings"]
    model = AutoModelForCausalLM.from_pretrained(hand_off / manifest["model"]["folder"], dtype=torch.float32)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch, save_strategy="no", report_to=[], max_steps=settings["steps"],
            per_device_train_batch_size=1, gradient_accumulation_steps=settings["batch_size"],
            learning_rate=settings["learning_rate"], lr_scheduler_type=settings["schedule"],
            warmup_steps=settings.get("warmup_steps", 0), adam_beta2=settings.get("beta2", 0.95),
            gradient_checkpointing=settings.get("recompute", False), seed=settings["seed"],
            use_cpu=not torch.cuda.is_available())
        trainer = Trainer(model=model, args=arguments,
                          train_dataset=samples(pathlib.Path(manifest["documents"]), manifest["sample_length"]))
        trainer.train()
    checkpoint = pathlib.Path(os.environ["LONGROPE_CHECKPOINT"])
    model.save_pretrained(checkpoint)
    for file in (hand_off / manifest["model"]["folder"]).glob("tokenizer*"):
        shutil.copyfile(file, checkpoint / file.name)  # documents are known by the bytes of tokenizer.json


if __name__ == "__main__":
    main()
