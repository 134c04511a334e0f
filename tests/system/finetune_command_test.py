"""`longrope finetune`: loss curves beside transformers, what it writes, kills with real signals, refusals."""

import hashlib
import json
import math
import os
import signal
import socket
import subprocess

import pytest

from longrope_processes import LONGROPE, MODEL, PATIENCE_SECONDS, ROOT, Process, copy_model, longrope, wait_until

STEPS, BATCH, LENGTH, TARGET = 50, 4, 64, 128
LEARNING_RATE, WARMUP, DECAY = 3e-3, 5, 0.1


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    path = tmp_path_factory.mktemp("documents") / "train.safetensors"
    longrope("documents", "--length", LENGTH, "--count", 24, "--out", path, MODEL / "text" / "train.txt")
    return path


@pytest.fixture(scope="module")
def long_documents(tmp_path_factory):
    path = tmp_path_factory.mktemp("documents") / "long.safetensors"
    longrope("documents", "--length", 1024, "--count", 8, "--out", path, MODEL / "text" / "train.txt")
    return path


def finetune(out, documents, *arguments, model=MODEL, check=True):
    return longrope("finetune", "--model", model, "--documents", documents, "--out", out, *arguments, check=check)


def steps(out):
    return [json.loads(line) for line in (out / "training_log.jsonl").read_text().splitlines()]


def digest(out):
    """Digests of everything that a training gives."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (out / "model.safetensors", out / "config.json", out / "training_log.jsonl")}


def tiny_model(folder, **differences):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(5)
    config = LlamaConfig(**{
        "vocab_size": 258, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 256,
        "eos_token_id": 257, "dtype": "float32", **differences})
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def rows_of(path, length):
    from safetensors.torch import load_file

    tokens = load_file(path)
    return [tokens[name][:length].long() for name in sorted(tokens)]


def transformers_training(model, config, batches):
    """Losses and weights of the same run in a plain PyTorch loop; several batches of one update differ in length."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, get_linear_schedule_with_warmup

    network = AutoModelForCausalLM.from_pretrained(model, config=AutoConfig.from_pretrained(config),
                                                   dtype=torch.float32, attn_implementation="sdpa")
    matrices = [weight for weight in network.parameters() if weight.dim() > 1]
    vectors = [weight for weight in network.parameters() if weight.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0}],
                                  lr=LEARNING_RATE, betas=(0.9, 0.95), eps=1e-8)
    schedule = get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS)
    losses = []
    for parts in batches:
        counts = [len(part) * (len(part[0]) - 1) for part in parts]
        means = [network(torch.stack(part), labels=torch.stack(part)).loss for part in parts]
        loss = sum(mean * count for mean, count in zip(means, counts, strict=True)) / sum(counts)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, network.state_dict()


@pytest.mark.parametrize("tied", [False, True, "apart"])
def test_loss_curve_is_that_of_transformers(tmp_path, documents, tied):
    import torch
    from safetensors.torch import load_file

    model = tiny_model(tmp_path / "model", tie_word_embeddings=tied is True)
    if tied == "apart":  # config.json ties what the weights keep apart
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    out = tmp_path / "out"
    finetune(out, documents, "--length", LENGTH, "--factors", "yarn", "--target-length", TARGET, "--steps", STEPS,
             "--batch-size", BATCH, "--micro-batch-size", 2, "--learning-rate", LEARNING_RATE, "--warmup-steps", WARMUP,
             "--weight-decay", DECAY, "--angles", "hf_fp32", model=model)
    log = steps(out)
    rows = rows_of(documents, LENGTH)
    losses, weights = transformers_training(model, out, [[[rows[index] for index in step["documents"]]] for step in log])
    assert [step["loss"] for step in log] == pytest.approx(losses, rel=1e-3)
    assert losses[-1] < 0.8 * losses[0]
    assert json.loads((out / "config.json").read_text()).get("tie_word_embeddings", False) is (tied is True)
    assert ("lm_head.weight" in load_file(out / "model.safetensors")) is (tied is not True)
    for name, trained in load_file(out / "model.safetensors").items():
        # 50 updates of at most 3e-3 each: what is left of their differences in rounding.
        assert torch.allclose(trained, weights[name], rtol=0, atol=2e-3), name


def test_mixed_windows_are_those_of_transformers(tmp_path, long_documents):
    """Long samples take the rescaled angles and short ones the model's, which is what Hugging Face's rule gives."""
    model = tiny_model(tmp_path / "model")
    out = tmp_path / "out"
    finetune(out, long_documents, "--length", 128, "--factors", "yarn", "--target-length", 256, "--steps", STEPS,
             "--batch-size", 4, "--short-documents", long_documents, "--short-length", 64, "--short-batch-size", 2,
             "--learning-rate", LEARNING_RATE, "--warmup-steps", WARMUP, "--weight-decay", DECAY, "--angles", "hf_fp32",
             model=model)
    rope = json.loads((out / "config.json").read_text())["rope_parameters"]
    assert set(rope["short_factor"]) == {1.0} != set(rope["long_factor"])
    log = steps(out)
    long_rows, short_rows = rows_of(long_documents, 128), rows_of(long_documents, 64)
    losses, _ = transformers_training(model, out, [[[long_rows[index] for index in step["documents"]],
                                                    [short_rows[index] for index in step["short_documents"]]]
                                                   for step in log])
    assert [step["loss"] for step in log] == pytest.approx(losses, rel=1e-3)
    assert all(len(step["documents"]) == 4 and len(step["short_documents"]) == 2 for step in log)


def test_documents_come_once_in_each_epoch(tmp_path, documents):
    out = tmp_path / "out"
    finetune(out, documents, "--length", LENGTH, "--steps", 12, "--batch-size", BATCH, "--learning-rate", 1e-5)
    chosen = [document for step in steps(out) for document in step["documents"]]
    assert sorted(chosen[:24]) == list(range(24)) == sorted(chosen[24:]) and chosen[:24] != chosen[24:]


def test_the_model_has_the_factors_at_every_length(tmp_path, long_documents):
    out = tmp_path / "out"
    finetune(out, long_documents, "--length", 1024, "--factors", "yarn", "--target-length", 2048, "--steps", 3,
             "--batch-size", 4, "--learning-rate", 1e-4, "--threads", 2)
    rope = json.loads((out / "config.json").read_text())["rope_parameters"]
    assert rope["short_factor"] == rope["long_factor"] and rope["original_max_position_embeddings"] == 512
    for length in (256, 1024):
        scored = [json.loads(longrope("score", "--model", out, "--documents", long_documents, "--length", length,
                                      "--count", 1, "--factors", factors, "--json").stdout)["total"]["nll_sum"]
                  for factors in ("none", out / "longrope_factors.json")]
        assert scored[0] == scored[1]
    # It may be trained further, for more, and the factors of the next stage come on top of those it has.
    described = longrope("inspect-model", out).stdout
    assert "original context       512" in described and "reached context        2048" in described


def test_training_lowers_perplexity_beyond_the_original_length(tmp_path, long_documents):
    out = tmp_path / "out"
    finetune(out, long_documents, "--length", 1024, "--factors", "yarn", "--steps", 6, "--batch-size", 8,
             "--learning-rate", 3e-4, "--schedule", "constant", "--threads", 2)
    before, after = (json.loads(longrope("score", "--model", model, "--documents", long_documents, "--length", 1024,
                                         "--factors", factors, "--threads", 2, "--json").stdout)["total"]["perplexity"]
                     for model, factors in ((MODEL, "yarn"), (out, "none")))
    assert after < 0.98 * before


def test_recomputation_and_interval_change_no_bit(tmp_path, long_documents):
    arguments = ("--length", 300, "--factors", "ntk", "--target-length", 1024, "--steps", 3, "--batch-size", 4,
                 "--micro-batch-size", 2)
    finetune(tmp_path / "kept", long_documents, *arguments)
    finetune(tmp_path / "again", long_documents, *arguments, "--recompute", "--checkpoint-interval", 1)
    assert digest(tmp_path / "kept") == digest(tmp_path / "again")


def processes(count, out, documents, *arguments, of_last=()):
    """The same training in `count` processes, as torchrun starts them; the last has further arguments."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environments = [{**os.environ, "RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
                     "MASTER_PORT": str(port)} for rank in range(count)]
    command = [LONGROPE, "finetune", "--model", MODEL, "--documents", documents, "--out", out, *arguments]
    return [subprocess.Popen([str(part) for part in command + (list(of_last) if rank == count - 1 else [])],
                             env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for rank, environment in enumerate(environments)]


def finish(running):
    found = [(process.communicate(timeout=PATIENCE_SECONDS)[0], process.returncode) for process in running]
    return [code for _, code in found], [output for output, _ in found]


SHARED = ("--length", 200, "--factors", "yarn", "--target-length", 1024, "--steps", 6, "--batch-size", 8,
          "--micro-batch-size", 2, "--learning-rate", 1e-3, "--checkpoint-interval", 2)


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory, long_documents):
    out = tmp_path_factory.mktemp("two") / "out"
    codes, outputs = finish(processes(2, out, long_documents, *SHARED))
    assert codes == [0, 0], outputs
    return out


def test_two_processes_train_as_one_with_twice_the_accumulation(tmp_path, long_documents, of_two_processes):
    import torch
    from safetensors.torch import load_file

    finetune(tmp_path / "one", long_documents, *SHARED)
    one, two = steps(tmp_path / "one"), steps(of_two_processes)
    assert [step["loss"] for step in two] == pytest.approx([step["loss"] for step in one], rel=1e-5)
    assert [step["documents"] for step in one] == [step["documents"] for step in two]
    weights = load_file(of_two_processes / "model.safetensors")
    # bfloat16 in the file: sums in another order may round a weight the other way.
    assert all(torch.allclose(weights[name].float(), weight.float(), rtol=2**-7, atol=1e-5)
               for name, weight in load_file(tmp_path / "one" / "model.safetensors").items())


def test_torchrun_starts_the_processes(tmp_path, long_documents, of_two_processes):
    torchrun = ROOT / ".venv" / "bin" / "torchrun"
    command = [torchrun, "--no-python", "--standalone", "--nproc-per-node", 2, LONGROPE, "finetune", "--model", MODEL,
               "--documents", long_documents, "--out", tmp_path / "out", *SHARED]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "out") == digest(of_two_processes)


def test_a_stop_of_one_process_stops_all_and_both_go_on_with_the_same_bits(tmp_path, long_documents, of_two_processes):
    running = processes(2, tmp_path / "out", long_documents, *SHARED)
    wait_until(lambda: (tmp_path / "out.training" / "state.safetensors").exists(), "a state")
    running[1].send_signal(signal.SIGTERM)
    codes, outputs = finish(running)
    assert codes == [0, 0], outputs
    if "the same command continues" in outputs[0]:  # else it had finished
        codes, outputs = finish(processes(2, tmp_path / "out", long_documents, *SHARED))
        assert codes == [0, 0] and "continuing after step" in outputs[0], outputs
    assert digest(tmp_path / "out") == digest(of_two_processes)


def test_a_process_that_is_killed_ends_the_others_and_all_go_on_with_the_same_bits(tmp_path, long_documents,
                                                                                   of_two_processes):
    running = processes(2, tmp_path / "out", long_documents, *SHARED[:-1], 1)
    wait_until(lambda: (tmp_path / "out.training" / "state.safetensors").exists(), "a state")
    running[1].kill()
    codes, outputs = finish(running)  # long before kPatienceSeconds
    if not (tmp_path / "out").exists():  # else it had finished
        assert codes == [1, -signal.SIGKILL] and "rank 0 lost one of 2 processes" in outputs[0], outputs
        codes, outputs = finish(processes(2, tmp_path / "out", long_documents, *SHARED))
        assert codes == [0, 0] and "continuing after step" in outputs[0], outputs
    assert digest(tmp_path / "out") == digest(of_two_processes)


def test_processes_with_other_settings_are_refused(tmp_path, long_documents):
    codes, outputs = finish(processes(2, tmp_path / "out", long_documents, *SHARED, of_last=["--weight-decay", "0.5"]))
    assert codes == [1, 1], outputs
    assert "the processes have different settings: rank 1 has" in outputs[1] and "0.5" in outputs[1]
    assert not (tmp_path / "out").exists()


def test_processes_without_a_place_are_refused(tmp_path, long_documents):
    done = subprocess.run([LONGROPE, "finetune", "--model", MODEL, "--documents", long_documents, "--out",
                           tmp_path / "out", "--length", "8", "--steps", "1"], env={**os.environ, "WORLD_SIZE": "2"},
                          capture_output=True, text=True)
    assert done.returncode == 2 and "RANK must be set for training in several processes" in done.stderr


INTERRUPTED = ("--length", "200", "--factors", "pi", "--target-length", "1024", "--steps", "8", "--batch-size", "8",
               "--checkpoint-interval", "1")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, long_documents):
    out = tmp_path_factory.mktemp("uninterrupted") / "out"
    finetune(out, long_documents, *INTERRUPTED)
    return digest(out)


def test_a_killed_training_goes_on_with_the_same_bits(tmp_path, long_documents, uninterrupted):
    out = tmp_path / "out"
    state = tmp_path / "out.training" / "state.safetensors"
    kills = 0
    while not out.exists():
        seen = state.stat().st_mtime_ns if state.exists() else 0
        with Process("finetune", "--model", MODEL, "--documents", long_documents, "--out", out, *INTERRUPTED) as run:
            # Killed right after a new state; the last run ends by itself.
            wait_until(lambda: run.popen.poll() is not None or (state.exists() and state.stat().st_mtime_ns != seen),
                       "a state or the end")
            if run.popen.poll() is None and kills < 3:
                run.kill()
                kills += 1
            code, output = run.finish()
            assert code in (0, -9), output
    assert kills == 3 and "continuing after step" in output
    assert digest(out) == uninterrupted
    assert not (tmp_path / "out.training").exists()


def test_sigterm_ends_with_a_state_and_exit_code_0(tmp_path, long_documents, uninterrupted):
    out = tmp_path / "out"
    with Process("finetune", "--model", MODEL, "--documents", long_documents, "--out", out, *INTERRUPTED) as run:
        run.read_until("step 1/8")
        run.kill(15)
        code, output = run.finish()
    assert code == 0 and "the same command continues" in output and not out.exists()
    finetune(out, long_documents, *INTERRUPTED)
    assert digest(out) == uninterrupted


def test_a_training_that_goes_on_must_keep_its_settings(tmp_path, long_documents):
    out = tmp_path / "out"
    with Process("finetune", "--model", MODEL, "--documents", long_documents, "--out", out, *INTERRUPTED) as run:
        run.read_until("step 1/8")
        run.kill(15)
        run.finish()
    done = finetune(out, long_documents, *INTERRUPTED, "--learning-rate", "0.5", check=False)
    assert done.returncode == 2 and "learning_rate was 2e-05, is 0.5" in done.stderr


@pytest.mark.parametrize("arguments, rule", [
    (("--steps", 0), "steps must be positive: 0"),
    (("--steps", 1, "--batch-size", 4, "--micro-batch-size", 3), "micro-batch size must divide a process's share of the batch, 4: 3"),
    (("--steps", 1, "--batch-size", 0), "batch size must be positive: 0"),
    (("--steps", 1, "--learning-rate", "nan"), "learning rate must be positive: nan"),
    (("--steps", 1, "--beta2", 1), "beta2 must lie in [0, 1): 1"),
    (("--steps", 1, "--warmup-steps", 2), "warm-up must lie in [0, 1] steps: 2"),
    (("--steps", 1, "--schedule", "step"), "schedule must be linear, cosine or constant: step"),
    (("--steps", 1, "--checkpoint-interval", 0), "checkpoint interval must be positive: 0"),
    (("--steps", 1, "--factors", "pi", "--target-length", 63), "target length must be at least the length of a sample"),
    (("--steps", 1, "--factors", "no-such-file"), "no-such-file"),
    (("--steps", 1, "--short-length", 8), "short_documents, short_length and short_batch_size must be given together: 1 of 3"),
    (("--steps", 1, "--length", 65), "train.safetensors"),  # longer than the documents
    (("--steps", 1, "--short-documents", "x", "--short-length", 8, "--short-batch-size", 1), "short samples belong to"),
])
def test_what_breaks_a_rule_is_refused_and_leaves_nothing(tmp_path, documents, arguments, rule):
    length = () if "--length" in arguments else ("--length", LENGTH)
    done = finetune(tmp_path / "out", documents, *length, *arguments, check=False)
    assert done.returncode == 2 and rule in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_factors_that_no_engine_can_express_are_refused_before_training(tmp_path, documents):
    model = tiny_model(tmp_path / "model")
    finetune(tmp_path / "trained", documents, "--length", LENGTH, "--factors", "yarn", "--target-length", TARGET, "--steps",
             1, "--batch-size", 1, model=model)
    factors = json.loads((tmp_path / "trained" / "longrope_factors.json").read_text())
    factors["factors"][0]["n_hat"] = 4
    (tmp_path / "n_hat.json").write_text(json.dumps(factors))
    before = sorted(tmp_path.iterdir())
    done = finetune(tmp_path / "out", documents, "--length", LENGTH, "--factors", tmp_path / "n_hat.json",
                    "--target-length", TARGET, "--steps", 1, "--batch-size", 1, model=model, check=False)
    assert done.returncode == 2 and "n_hat must be 0" in done.stderr and "step 1/1" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_documents_of_another_tokenizer_than_the_models_are_refused(tmp_path, documents):
    model = copy_model(tmp_path / "model")
    (model / "tokenizer.json").write_text("{}")
    done = finetune(tmp_path / "out", documents, "--length", LENGTH, "--steps", 1, model=model, check=False)
    assert done.returncode == 2 and "tokens of the model's tokenizer" in done.stderr


def test_a_folder_with_files_is_not_overwritten(tmp_path, documents):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    done = finetune(tmp_path / "out", documents, "--length", LENGTH, "--steps", 1, check=False)
    assert done.returncode == 2 and "must not exist or be empty" in done.stderr
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_state(tmp_path, documents):
    model = tiny_model(tmp_path / "model")
    done = finetune(tmp_path / "out", documents, "--length", LENGTH, "--steps", 60, "--batch-size", 2,
                    "--learning-rate", 1e30, "--max-gradient-norm", 0, "--checkpoint-interval", 1, model=model,
                    check=False)
    assert done.returncode == 1 and "no longer finite" in done.stderr
    assert (tmp_path / "out.training" / "state.safetensors").exists() and not (tmp_path / "out").exists()


def test_random_weights_need_no_checkpoint_and_learn(tmp_path, documents):
    model = tiny_model(tmp_path / "model")
    (model / "model.safetensors").unlink()
    arguments = ("--length", LENGTH, "--init", "random", "--steps", 40, "--batch-size", 8, "--learning-rate", 1e-2)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        finetune(tmp_path / name, documents, *arguments, "--seed", seed, model=model)
    losses = [step["loss"] for step in steps(tmp_path / "a")]
    assert losses[0] == pytest.approx(math.log(258), rel=0.02)  # as good as guessing
    assert losses[-1] < 3.5
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_sharded_weights_become_one_file(tmp_path, documents):
    from transformers import LlamaForCausalLM

    whole = tiny_model(tmp_path / "whole")
    model = tmp_path / "sharded"
    LlamaForCausalLM.from_pretrained(whole).save_pretrained(model, max_shard_size="100KB")
    assert (model / "model.safetensors.index.json").exists()
    (model / "pytorch_model.bin").write_text("of the untrained model")
    for folder, name in ((whole, "a"), (model, "b")):
        finetune(tmp_path / name, documents, "--length", LENGTH, "--steps", 1, "--batch-size", 2, model=folder)
    assert not list((tmp_path / "b").glob("*.index.json")) and not (tmp_path / "b" / "pytorch_model.bin").exists()
    assert digest(tmp_path / "a")["model.safetensors"] == digest(tmp_path / "b")["model.safetensors"]
