"""What needs Torch in Python, a process for each task, so that memory of the GPU is free again when it ends and running
out of it ends nothing else. Prints a JSON object for each result.

  device                                         names of GPUs, versions
  make --folder F --lengths …                    random weights for F/model/config.json, two random documents of each
                                                 length
  families --folder F --documents D --tokens N   random weights for each F/*/config.json, and their NLL
  speed --folder F --lengths …                   seconds and NLL of the second document, logits in chunks
"""

import argparse
import json
import time
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

LOGIT_CHUNK = 512  # tokens for one call of the lm_head: the logits of a long document fit no memory
SEED = 1


def say(**found):
    print(json.dumps(found), flush=True)


def wait(device):
    if device != "cpu":
        torch.cuda.synchronize()


def load(folder, device, dtype, attention="sdpa"):
    """The model, filled on the device; `device_map` would need another package."""
    config = transformers.AutoConfig.from_pretrained(folder)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    weights = {}
    for path in sorted(Path(folder).glob("model*.safetensors")):
        weights |= load_file(path, device=device)
    missing = [name for name in model.load_state_dict(weights, strict=False).missing_keys if name != "lm_head.weight"]
    if missing:
        raise SystemExit(f"weights are missing: {missing}")
    model.tie_weights()
    return model.eval()


def nll_sum(model, tokens, device):
    """In nats, over all tokens but the first."""
    tokens = tokens.to(device).long()
    hidden = model.model(tokens[None], use_cache=False).last_hidden_state[0]
    total = torch.zeros((), dtype=torch.float64, device=device)
    for begin in range(0, len(tokens) - 1, LOGIT_CHUNK):
        end = min(begin + LOGIT_CHUNK, len(tokens) - 1)
        logits = model.lm_head(hidden[begin:end]).float()
        total += torch.nn.functional.cross_entropy(logits, tokens[begin + 1 : end + 1], reduction="sum")
    return total.item()


def device(_):
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        say(gpu=found.name, memory_bytes=found.total_memory, capability=f"{found.major}.{found.minor}")
    say(torch=torch.__version__, transformers=transformers.__version__, cuda=torch.version.cuda)


def make(arguments):
    """Weights by the model's own initialisation: normal, of the standard deviation 0.02, drawn on the device."""
    torch.manual_seed(SEED)
    config = transformers.AutoConfig.from_pretrained(arguments.folder / "model")
    with torch.device(arguments.device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(arguments.folder / "model", max_shard_size="2GB")
    for length in arguments.lengths:
        save_file({f"random-{index}": torch.randint(config.vocab_size, (length,), dtype=torch.int32)
                   for index in range(2)}, arguments.folder / f"{length}.safetensors",
                  metadata={"format": "longrope-documents/1", "tokenizer_digest": "random", "source": "random"})
    say(parameters=sum(weight.numel() for weight in model.parameters()))


def randomize(model):
    """Weights that make every part count: logits of about ±10, attention neither flat nor on one token."""
    for name, weight in model.named_parameters():
        random = torch.randn_like(weight)
        if "embed_tokens" in name:
            weight.copy_(0.3 * random)
        elif weight.ndim == 2:
            weight.copy_((2.4 if "lm_head" in name else 1.3) * random / weight.shape[1] ** 0.5)
        else:
            weight.copy_(1.0 + 0.3 * random)


def families(arguments):
    [document] = load_file(arguments.documents).values()
    tokens = document[: arguments.tokens]
    folders = sorted(path.parent for path in arguments.folder.glob("*/config.json"))
    for folder in folders:
        torch.manual_seed(SEED)
        config = transformers.AutoConfig.from_pretrained(folder)
        with torch.device(arguments.device):
            model = transformers.AutoModelForCausalLM.from_config(config)
        randomize(model)
        save_file({name: weight.contiguous() for name, weight in model.state_dict().items()},
                  folder / "model.safetensors", {"format": "pt"})
    for folder in folders:
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            model = load(folder, arguments.device, dtype)
            found = nll_sum(model, tokens, arguments.device)
            # The same rounded weights without the roundings of either engine.
            exact = nll_sum(load(folder, arguments.device, dtype).float(), tokens, arguments.device)
            say(family=folder.name, dtype=name, nll_sum=found, exact=exact)


def speed(arguments):
    model = load(arguments.folder / "model", arguments.device, torch.bfloat16)
    for length in arguments.lengths:
        documents = load_file(arguments.folder / f"{length}.safetensors")
        found = {"length": length}
        try:
            if arguments.device != "cpu":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            for name in sorted(documents):  # the first warms up
                wait(arguments.device)
                start = time.perf_counter()
                found["nll_sum"] = nll_sum(model, documents[name], arguments.device)
                found["seconds"] = time.perf_counter() - start
            if arguments.device != "cpu":
                found["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
        except torch.OutOfMemoryError:
            found["error"] = "out of memory"
        say(**found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["device", "make", "families", "speed"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--documents", type=Path)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--lengths", type=lambda text: [int(length) for length in text.split(",")], default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    {"device": device, "make": make, "families": families, "speed": speed}[arguments.task](arguments)


if __name__ == "__main__":
    main()
