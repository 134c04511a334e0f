"""Bad input: exit code 2 and a message that names the rule, the value and the place; nothing is changed."""

import json
import os
import signal
import sqlite3
import struct
import subprocess

import pytest

from longrope_processes import (LONGROPE, MODEL, PATIENCE_SECONDS, Process, copy_model, longrope, query, scored,
                                wait_until, write_search)


def refusal(*arguments):
    done = longrope(*arguments, check=False)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    return done.stderr


@pytest.fixture
def config(tmp_path):
    return write_search(tmp_path / "search")


def edited(config, old, new):
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    return config


def sharded_model(folder):
    """The bundled model in two files: one tensor in the first, all others in the second."""
    copy_model(folder)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    names = sorted(header)
    weight_map = {}
    for number, part in ((1, names[:1]), (2, names[1:])):
        shard, entries, data = f"model-{number:05}-of-00002.safetensors", {}, b""
        for name in part:
            begin, end = header[name]["data_offsets"]
            entries[name] = {**header[name], "data_offsets": [len(data), len(data) + end - begin]}
            data += content[start + begin:start + end]
            weight_map[name] = shard
        text = json.dumps(entries).encode()
        (folder / shard).write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_unknown_key(config, tmp_path):
    message = refusal("run", edited(config, "num_parents", "num_parent"), "--db", tmp_path / "search.db")
    assert "num_parent" in message and "search.toml:" in message
    assert not (tmp_path / "search.db").exists()


def test_wrong_type(config, tmp_path):
    message = refusal("run", edited(config, "num_parents = 4", 'num_parents = "four"'), "--db", tmp_path / "search.db")
    assert "num_parents" in message and "search.toml:" in message


def test_parameter_that_the_method_does_not_have(config, tmp_path):
    """Refused before a database is made, which would then refuse the corrected file; and by --dry-run."""
    wrong = edited(config, "num_parents = 4", 'num_parents = 4\nmethod = "authors"\nn_hat = [0, 4]')
    edited(config, 'seeds = ["yarn", "ntk"]', 'seeds = ["ramp"]')
    edited(config, 'attention_policies = ["none", "su"]', 'attention_policies = ["su"]')
    database = tmp_path / "search.db"
    for arguments in (["run", wrong, "--db", database], ["run", wrong, "--dry-run"],
                      ["coordinator", wrong, "--db", database, "--bind", f"ipc://{tmp_path}/endpoint"]):
        message = refusal(*arguments)
        assert 'n_hat must be 0 with method "authors": [0, 4]' in message and "search.toml" in message
    assert not list(tmp_path.glob("search.db*"))
    longrope("run", edited(config, "n_hat = [0, 4]", "n_hat = 0"), "--dry-run")


def test_bind_that_is_none(config, tmp_path):
    """A coordinator that cannot be reached makes no database."""
    done = longrope("coordinator", config, "--db", tmp_path / "search.db", "--bind", "ipc:///missing/folder/endpoint",
                    check=False)
    assert done.returncode == 1 and "cannot bind to ipc:///missing/folder/endpoint" in done.stderr
    assert not list(tmp_path.glob("search.db*"))


def test_missing_model_file(config, tmp_path):
    model = copy_model(tmp_path / "models" / "byte-llama")
    (model / "model.safetensors").unlink()
    message = refusal("run", edited(config, str(MODEL), str(model)), "--db", tmp_path / "search.db")
    assert "model.safetensors" in message and str(model) in message


def test_shape_mismatch(tmp_path, config):
    model = copy_model(tmp_path / "byte-llama")
    description = json.loads((model / "config.json").read_text())
    description["intermediate_size"] = 700
    (model / "config.json").write_text(json.dumps(description))
    message = refusal("score", "--model", model, "--documents", config.parent / "search.safetensors", "--length", 640)
    assert "704" in message and "700" in message and "mlp" in message


def test_unsupported_architecture_and_missing_shard(tmp_path, config):
    score = ("score", "--documents", config.parent / "search.safetensors", "--length", 640, "--model")
    other = copy_model(tmp_path / "other")
    description = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**description, "architectures": ["GPT2LMHeadModel"]}))
    message = refusal(*score, other)
    assert "GPT2LMHeadModel" in message and "LlamaForCausalLM" in message and str(other) in message
    sharded = sharded_model(tmp_path / "sharded")
    longrope(*score, sharded, "--count", 1)
    (sharded / "model-00002-of-00002.safetensors").unlink()
    message = refusal(*score, sharded)
    assert "model-00002-of-00002.safetensors" in message and str(sharded) in message


def test_header_of_2_to_the_63_bytes(tmp_path, config):
    model = copy_model(tmp_path / "byte-llama")
    with open(model / "model.safetensors", "r+b") as file:
        file.write(struct.pack("<Q", 2**63))
    message = refusal("score", "--model", model, "--documents", config.parent / "search.safetensors", "--length", 640)
    assert str(2**63) in message and "model.safetensors" in message


def test_token_outside_the_vocabulary(tmp_path, config):
    longrope("documents", "--length", 640, "--count", 2, "--bos", 258, "--out", config.parent / "search.safetensors",
             MODEL / "text" / "search.txt")
    message = refusal("run", config, "--db", tmp_path / "search.db")
    assert "258" in message and "search.safetensors" in message


def test_document_shorter_than_the_target(tmp_path, config):
    message = refusal("run", edited(config, "target_length = 640", "target_length = 641"), "--db",
                      tmp_path / "search.db")
    assert "641" in message and "640" in message and "search.safetensors" in message


def test_factors_of_the_wrong_length_and_nan(tmp_path, config):
    score = ("score", "--model", MODEL, "--documents", config.parent / "search.safetensors", "--length", 640,
             "--factors")
    short = tmp_path / "short.csv"
    short.write_text("1.0\n" * 31)
    message = refusal(*score, short)
    assert "31" in message and "32" in message and "short.csv" in message
    with_nan = tmp_path / "nan.csv"
    with_nan.write_text("1.0\n" * 31 + "nan\n")
    message = refusal(*score, with_nan)
    assert "nan" in message and "nan.csv" in message


def test_database_of_another_application(tmp_path, config):
    database = tmp_path / "other.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE something (x)")
    before = database.read_bytes()
    message = refusal("run", config, "--db", database)
    assert "other.db" in message
    assert database.read_bytes() == before


def test_newer_schema(tmp_path, config):
    database = tmp_path / "search.db"
    with Process("run", config, "--db", database, "--workers", 1) as run:
        wait_until(lambda: scored(database) >= 1, "a result")
        run.kill(signal.SIGTERM)
        run.finish()
    connection = sqlite3.connect(database)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute(f"PRAGMA user_version = {version + 1}")
    connection.close()
    assert str(version + 1) in refusal("run", config, "--db", database)
    assert str(version + 1) in refusal("status", "--db", database)


def test_second_coordinator_on_one_database(tmp_path, config):
    database = tmp_path / "search.db"
    with Process("coordinator", config, "--db", database, "--bind", f"ipc://{tmp_path}/one") as first:
        first.read_until("serving workers")
        message = refusal("coordinator", config, "--db", database, "--bind", f"ipc://{tmp_path}/two")
        assert "search.db" in message and str(first.popen.pid) in message


def test_other_settings_on_one_database(tmp_path, config):
    database = tmp_path / "search.db"
    with Process("coordinator", config, "--db", database, "--bind", f"ipc://{tmp_path}/one") as first:
        first.read_until("serving workers")
        first.kill(signal.SIGTERM)
        assert first.finish()[0] == 0
    assert "seed" in refusal("run", config, "--db", database, "--seed", 99)


def test_worker_with_another_model_is_refused_by_name(tmp_path, config):
    database = tmp_path / "search.db"
    endpoint = f"ipc://{tmp_path}/coordinator"
    model = copy_model(tmp_path / "models" / "byte-llama")
    with open(model / "model.safetensors", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    with Process("coordinator", config, "--db", database, "--bind", endpoint) as coordinator:
        coordinator.read_until("serving workers")
        message = refusal("worker", "--connect", endpoint, "--model-root", tmp_path / "models", "--id", "stranger")
        assert "digest" in message and str(model) in message
        wait_until(lambda: query(database, "SELECT state FROM worker WHERE id = 'stranger'") == [("refused",)],
                   "the refusal in the database")


def test_worker_without_a_shard_reports_its_name(tmp_path, config):
    database = tmp_path / "search.db"
    endpoint = f"ipc://{tmp_path}/coordinator"
    model = sharded_model(tmp_path / "models" / "sharded")
    config = edited(config, str(MODEL), str(model))
    with Process("coordinator", config, "--db", database, "--bind", endpoint) as coordinator:
        coordinator.read_until("serving workers")
        (model / "model-00001-of-00002.safetensors").unlink()
        message = refusal("worker", "--connect", endpoint, "--model-root", tmp_path / "models", "--id", "incomplete")
        assert "model-00001-of-00002.safetensors" in message
        wait_until(lambda: query(database, "SELECT state FROM worker WHERE id = 'incomplete'") == [("refused",)],
                   "the refusal in the database")


def test_worker_with_other_threads_is_refused(tmp_path, config):
    endpoint = f"ipc://{tmp_path}/coordinator"
    with Process("coordinator", config, "--db", tmp_path / "search.db", "--bind", endpoint) as coordinator:
        coordinator.read_until("serving workers")
        message = refusal("worker", "--connect", endpoint, "--model-root", MODEL.parent, "--threads", 2)
        assert "threads" in message and "2" in message


def test_endpoints_that_are_none_are_refused_with_what_to_write(tmp_path, config):
    message = refusal("coordinator", config, "--db", tmp_path / "search.db", "--bind", "tcp://127.0.0.1:99999")
    assert "port of an endpoint must be 1 to 65535" in message and "tcp://127.0.0.1:99999 (--bind)" in message
    message = refusal("worker", "--connect", "localhost:5555", "--model-root", MODEL.parent)
    assert "write tcp://localhost:5555 (--connect)" in message


def test_worker_names_a_host_that_is_unknown():
    unknown = 64 * "x"  # longer than a name may be: refused without asking the network
    with Process("worker", "--connect", f"tcp://{unknown}:5555", "--model-root", MODEL.parent) as worker:
        line = worker.read_until("no coordinator answers")
        assert f"unknown host: {unknown}" in line


def test_bind_that_other_machines_reach(tmp_path, config):
    message = refusal("coordinator", config, "--db", tmp_path / "search.db", "--bind", "tcp://0.0.0.0:5999")
    assert "--insecure-network" in message and "0.0.0.0" in message


def test_export_of_n_hat_is_refused_with_advice(tmp_path, config):
    config = edited(config, "num_parents = 4", "num_parents = 4\nn_hat = [1]")
    database = tmp_path / "search.db"
    longrope("run", config, "--db", database, "--workers", 2)
    message = refusal("export", "--db", database, "--model", MODEL, "--format", "hf", "--out", tmp_path / "exported",
                      "--force")
    assert "n_hat" in message
    assert not (tmp_path / "exported").exists()


def test_unwritable_out_is_a_failure_that_leaves_nothing(tmp_path):
    done = longrope("documents", "--length", 640, "--out", tmp_path / "missing" / "documents.safetensors",
                    MODEL / "text" / "search.txt", check=False)
    assert done.returncode != 0 and "missing" in done.stderr
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("command", [["evaluate", "--lengths", "640", "--json-out"],
                                     ["evaluate", "--lengths", "640", "--markdown-out"],
                                     ["evaluate", "--lengths", "640", "--csv-out"],
                                     ["score", "--length", "640", "--by-position"],
                                     ["score", "--length", "640", "--logits-out"]])
def test_outputs_without_a_place_are_refused_before_anything_is_read(tmp_path, command):
    of_nothing = ("--model", tmp_path / "no-model", "--documents", tmp_path / "no-documents")
    message = refusal(*command, tmp_path / "missing" / "out", *of_nothing)
    assert "directory of an output must exist" in message and str(tmp_path / "missing" / "out") in message
    message = refusal(*command, tmp_path, *of_nothing)
    assert "not a directory" in message and str(tmp_path) in message


def test_format_of_a_history_that_is_none_is_refused_with_those_there_are(tmp_path):
    assert "xml not in {table,csv,json}" in refusal("history", "--db", tmp_path / "search.db", "--format", "xml")
    assert "{table,csv,json}" in longrope("history", "--help").stdout


def test_output_that_standard_output_does_not_take_is_a_failure():
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([LONGROPE, "factors", "--model", MODEL, "--length", "4096", "--json"], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 1
    assert "cannot write to standard output" in done.stderr


def test_a_hostile_database_neither_steers_the_terminal_nor_ends_its_readers(tmp_path, config):
    database = tmp_path / "search.db"
    longrope("run", config, "--db", database, "--workers", 2)
    depth = 200_000
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE worker SET device = char(27) || '[2J', detail = 'one' || char(10) || 'forged'")
        connection.execute("UPDATE stage SET name = 'short' || char(27) || ']0;x' || char(7)")
        connection.execute("DROP TRIGGER factors_never_change")
        connection.execute("UPDATE factors SET lambda = ?", ("[" * depth + "1" + "]" * depth,))
    connection.close()
    status = longrope("status", "--db", database).stdout
    assert "\\u001b[2J (one forged)" in status and "short\\u001b]0;x\\u0007" in status and "\x1b" not in status
    table = longrope("history", "--db", database).stdout
    assert "short\\u001b]0;x\\u0007" in table and "\x1b" not in table
    done = longrope("history", "--db", database, "--format", "json", check=False)
    assert done.returncode == 1 and "JSON array of numbers" in done.stderr, (done.returncode, done.stderr)
