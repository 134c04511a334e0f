"""A pipeline gives the same outputs whatever happens to its processes, and takes fine-tunings from elsewhere."""

import json
import os
import shutil
import signal
import sqlite3
import sys

import pytest

from longrope_processes import MODEL, ROOT, Process, longrope, query, wait_until

def search(name, population=5, iterations=0, stage="", keys=""):
    """A search of a few candidates at NAME tokens; `stage` and `keys` are further keys of its two tables."""
    return f"""
[[stage]]
name = "{name}"
target_length = {name}
search_documents = "search.safetensors"
heldout_documents = "heldout.safetensors"
search_count = 1
heldout_count = 1
finalists = 2
{stage}
[stage.search]
population_size = {population}
num_mutations = 2
num_crossovers = 2
num_iterations = {iterations}
{keys}
"""


HEAD = f"""
[run]
name = "road"
seed = 3
[model]
path = "{MODEL}"
[scheduling]
heartbeat_interval_seconds = 0.2
worker_timeout_seconds = 5
"""
FINETUNE = """
[[stage]]
kind = "finetune"
name = "tune"
documents = "train.safetensors"
steps = 4
batch_size = 1
learning_rate = 1e-4
checkpoint_interval = 1
"""
# A few candidates and one document: whether the searches won is no concern of these tests.
EXPORT = """
[[stage]]
kind = "export"
name = "export"
force = true
"""
TABLES = """
[[stage]]
kind = "evaluate"
name = "evaluate"
documents = "heldout.safetensors"
lengths = [512, 768]
count = 1
""" + EXPORT
STAGES = ["640", "tune", "768", "512", "evaluate", "export"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Documents that all roads of this file share."""
    folder = tmp_path_factory.mktemp("road")
    for name, count in (("search", 1), ("heldout", 1)):
        longrope("documents", "--length", 768, "--count", count, "--out", folder / f"{name}.safetensors",
                 MODEL / "text" / f"{name}.txt")
    longrope("documents", "--length", 640, "--eos", 257, "--count", 4, "--out", folder / "train.safetensors",
             MODEL / "text" / "train.txt")
    return folder


def write_road(folder, name, finetune=FINETUNE):
    """512 -> 640 -> fine-tuning -> 768, and back to 512."""
    config = folder / name
    config.write_text(HEAD + search(640, iterations=1) + finetune + search(768)
                      + search(512, stage='kind = "recover"') + TABLES)
    return config


@pytest.fixture(scope="module")
def undisturbed(folder):
    """Configuration, and the digests of all outputs of a run that nothing happened to."""
    config = write_road(folder, "road.toml")
    longrope("run", config, "--db", folder / "undisturbed.db", "--workers", 1)
    return config, digests(folder / "undisturbed.db")


def digests(database):
    return dict(query(database, "SELECT name, output_digest FROM v_stages WHERE state = 'finished'"))


def states(database):
    return dict(query(database, "SELECT name, state FROM v_stages"))


def running(database, stage):
    try:
        return states(database).get(stage) == "running"
    except sqlite3.OperationalError:
        return False


def stage(database, name):
    return json.loads(longrope("stage", "show", name, "--db", database).stdout)


def test_every_stage_has_an_output(undisturbed):
    _, outputs = undisturbed
    assert list(outputs) == STAGES
    assert len(set(outputs.values())) == len(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_killed_in_a_stage_it_goes_on_to_the_same_outputs(undisturbed, folder, name):
    config, expected = undisturbed
    database = folder / f"killed-{name}.db"
    with Process("run", config, "--db", database, "--workers", 2) as run:
        run.read_until(f"stage {name} (")
        if name != "export":  # which is done in milliseconds: the kill may come before it, in it or after it
            wait_until(lambda: running(database, name), f"stage {name} runs")
        run.kill(signal.SIGKILL)
        run.finish()
    assert name == "export" or name not in digests(database)
    longrope("run", config, "--db", database, "--workers", 2)
    assert digests(database) == expected


def test_terminated_in_a_fine_tuning_it_ends_with_0_and_goes_on(undisturbed, folder):
    config, expected = undisturbed
    database = folder / "terminated.db"
    with Process("run", config, "--db", database, "--workers", 1) as run:
        run.read_until("step 1/4")
        run.kill(signal.SIGTERM)
        code, output = run.finish()
    assert code == 0 and "the same command continues" in output
    assert states(database)["tune"] == "running"
    longrope("run", config, "--db", database)
    assert digests(database) == expected


def test_second_search_composes_on_the_factors_that_were_trained(undisturbed, folder):
    trained = json.loads((folder / "undisturbed.stages/640/factors.json").read_text())["factors"][0]
    total = json.loads((folder / "undisturbed.stages/768/factors.json").read_text())["factors"][0]
    # 768 / 640 = 1.2; the grid of a second search begins at 1 and has steps of 0.01.
    secondary = [second / first for first, second in zip(trained["lambda"], total["lambda"])]
    assert all(abs(value * 100 - round(value * 100)) < 1e-9 and 1 <= value <= 1.5 + 1e-9 for value in secondary)


def test_recovery_shares_the_attention_factor_of_the_long_table(undisturbed, folder):
    short = json.loads((folder / "undisturbed.stages/512/factors.json").read_text())["factors"][0]
    long = json.loads((folder / "undisturbed.stages/768/factors.json").read_text())["factors"][0]
    assert short["mscale"]["value"] == long["mscale"]["value"]


def test_report_has_the_evaluations_of_the_stages(undisturbed, folder):
    longrope("report", "--db", folder / "undisturbed.db", "--out", folder / "road.html")
    page = (folder / "road.html").read_text()
    evaluation = folder / "undisturbed.stages/evaluate/evaluation/checkpoint/evaluation.json"
    assert json.loads(evaluation.read_text())["model"]["name"] == "road-tune"
    assert page.count("dynamic_ntk") > 0 and page.count("road-tune") > 0


def test_report_has_the_stages_and_the_loss_of_the_training(undisturbed, folder):
    longrope("report", "--db", folder / "undisturbed.db", "--out", folder / "stages.html")
    page = (folder / "stages.html").read_text()
    mark = '<script type="application/json" id="report-data">'
    begin = page.index(mark) + len(mark)
    plots = {plot["heading"]: plot for plot in json.loads(page[begin:page.index("</script>", begin)])["plots"]}
    assert {row[0]: row[2] for row in plots["Stages of the pipeline"]["table"]["rows"]} == states(folder / "undisturbed.db")
    log = next((folder / "undisturbed.stages/tune").glob("*/training_log.jsonl")).read_text().splitlines()
    assert [row[2] for row in plots["Training loss"]["table"]["rows"]] == [json.loads(line)["loss"] for line in log]


def test_stage_that_has_begun_keeps_its_settings(undisturbed, folder):
    config = write_road(folder, "changed.toml", FINETUNE.replace("1e-4", "2e-4"))
    refused = longrope("run", config, "--db", folder / "undisturbed.db", check=False)
    assert refused.returncode == 2
    assert "tune began with" in refused.stderr and "longrope stage retry tune" in refused.stderr


def test_retried_stage_and_its_dependents_give_the_same_again(undisturbed, folder):
    config, expected = undisturbed
    database = folder / "retried.db"
    longrope("run", config, "--db", database)
    again = longrope("stage", "retry", "768", "--db", database).stdout.split()[::4]
    assert again == ["export", "evaluate", "512", "768"], "whatever ends it, nothing stands on what is made anew"
    assert states(database) == {"640": "finished", "tune": "finished", "768": "pending", "512": "pending",
                                "evaluate": "pending", "export": "pending"}
    assert (folder / "retried.stages/768.1/factors.json").exists(), "what was there is kept"
    longrope("run", config, "--db", database)
    assert digests(database) == expected


def removed(database):
    for ending in ("", "-wal", "-shm", ".lock"):
        database.with_name(database.name + ending).unlink(missing_ok=True)


def test_outputs_of_a_database_that_is_gone_are_kept_but_not_taken(folder):
    config, database = folder / "lone.toml", folder / "lone.db"
    config.write_text(HEAD + search(640) + EXPORT)
    longrope("run", config, "--db", database)
    removed(database)
    config.write_text(HEAD.replace("seed = 3", "seed = 4") + search(640) + EXPORT)
    assert "lone.stages/640.1" in longrope("run", config, "--db", database).stderr
    seeds = [query(folder / "lone.stages" / name / "search.db", "SELECT seed FROM run") for name in ("640.1", "640")]
    assert seeds == [[("3",)], [("4",)]]


def test_databases_of_other_endings_have_folders_of_their_own(folder):
    config = folder / "ending.toml"
    config.write_text(HEAD + search(640) + EXPORT)
    for name in ("ending.1", "ending.2"):
        longrope("run", config, "--db", folder / name)
        assert (folder / f"{name}.stages" / "640" / "factors.json").exists()


def test_inputs_of_a_stage_that_has_begun_must_stay(folder, tmp_path):
    config, database, documents = folder / "inputs.toml", folder / "inputs.db", tmp_path / "search.safetensors"
    shutil.copy(folder / "search.safetensors", documents)
    config.write_text(HEAD + search(640, iterations=1).replace('"search.safetensors"', f'"{documents}"') + EXPORT)
    with Process("run", config, "--db", database, "--workers", 1) as run:
        wait_until(lambda: running(database, "640"), "stage 640 runs")
        run.kill(signal.SIGTERM)
        run.finish()
    shutil.copy(folder / "train.safetensors", documents)
    for _ in range(2):  # it stays as it is
        refused = longrope("run", config, "--db", database, check=False)
        assert refused.returncode == 2 and "search_documents of 640 changed" in refused.stderr
        assert "longrope stage retry 640" in refused.stderr and states(database)["640"] == "running"
    longrope("stage", "retry", "640", "--db", database)
    longrope("run", config, "--db", database)
    assert states(database) == {"640": "finished", "export": "finished"}


def test_inputs_of_a_finished_stage_must_stay(folder, tmp_path):
    config, database, documents = folder / "later.toml", folder / "later.db", tmp_path / "final.safetensors"
    shutil.copy(folder / "heldout.safetensors", documents)
    road = HEAD + search(640) + TABLES.replace("768", "640").replace('"heldout.safetensors"', f'"{documents}"')
    config.write_text(road)
    longrope("run", config, "--db", database)
    # Up to 512 tokens the model is as it was.
    schedule = json.loads((folder / "later.stages/evaluate/evaluation/longrope.json").read_text())
    assert [(entry["target_len"], set(entry["lambda"]) == {1.0}) for entry in schedule["factors"]] == [(512, True), (640, False)]

    def refusal():
        refused = longrope("run", config, "--db", database, check=False)
        assert refused.returncode == 2 and states(database)["evaluate"] == "finished"
        return refused.stderr

    longrope("documents", "--length", 512, "--count", 1, "--out", folder / "more.safetensors", MODEL / "text" / "heldout.txt")
    config.write_text(road.replace("lengths = [512, 640]\n", 'lengths = [512, 640]\npasskey = ["more.safetensors"]\n'))
    assert "passkey more.safetensors of evaluate changed" in refusal()
    config.write_text(road)
    shutil.copy(folder / "train.safetensors", documents)
    assert "documents of evaluate changed" in refusal()
    documents.unlink()
    assert "pipeline finished" in longrope("run", config, "--db", database).stdout, "what has served may go"


def test_schedule_has_the_tables_of_shorter_searches_too(folder):
    config, database = folder / "tables.toml", folder / "tables.db"
    evaluate = TABLES.removesuffix(EXPORT)
    config.write_text(HEAD + search(640) + search(768) + evaluate)
    longrope("run", config, "--db", database)
    schedule = json.loads((folder / "tables.stages/evaluate/evaluation/longrope.json").read_text())
    assert [step["max_len"] for step in schedule["schedule"]] == [512, 640, 768]
    assert "search 640" in stage(database, "evaluate")["inputs"]
    longrope("stage", "retry", "640", "--db", database)
    assert states(database) == {"640": "pending", "768": "finished", "evaluate": "pending"}


def test_failed_stage_with_other_inputs_begins_anew(folder, tmp_path):
    documents, database = tmp_path / "train.safetensors", folder / "renewed.db"
    shutil.copy(folder / "train.safetensors", documents)
    trainer = tmp_path / "trainer"
    trainer.write_text("#!/bin/sh\nexit 1\n")
    trainer.chmod(0o755)
    config = write_road(folder, "renewed.toml", '[[stage]]\nkind = "finetune"\nname = "tune"\n'
                        f'documents = "{documents}"\ncommand = ["{trainer}"]\n')
    assert longrope("run", config, "--db", database, check=False).returncode == 1
    longrope("documents", "--length", 640, "--count", 2, "--out", documents, MODEL / "text" / "train.txt")
    trainer.write_text(TRAINER)
    assert "renewed.stages/tune.1" in longrope("run", config, "--db", database).stderr
    assert list(digests(database)) == STAGES


def test_what_a_failed_command_left_is_no_checkpoint(folder, tmp_path):
    trainer = tmp_path / "trainer"
    trainer.write_text('#!/bin/sh\ncp -r "$LONGROPE_HAND_OFF/model" "$LONGROPE_CHECKPOINT"\nexit 1\n')
    trainer.chmod(0o755)
    config = write_road(folder, "left.toml", f'[[stage]]\nkind = "finetune"\nname = "tune"\ncommand = ["{trainer}"]\n')
    database = folder / "left.db"
    assert longrope("run", config, "--db", database, check=False).returncode == 1
    trainer.write_text(TRAINER)
    longrope("run", config, "--db", database)
    assert list(digests(database)) == STAGES


def test_checkpoint_that_is_refused_is_repaired_and_not_trained_again(folder, tmp_path, monkeypatch):
    trainer = tmp_path / "trainer"
    trainer.write_text('#!/bin/sh\ncp -r "$LONGROPE_HAND_OFF/model" "$LONGROPE_CHECKPOINT"\n')
    trainer.chmod(0o755)
    config = write_road(folder, "repaired.toml", f'[[stage]]\nkind = "finetune"\nname = "tune"\ncommand = ["{trainer}"]\n')
    database, place = folder / "repaired.db", folder / "repaired.stages" / "tune"
    refused = longrope("run", config, "--db", database, check=False)
    assert refused.returncode == 2 and "must have new weights" in refused.stderr
    trainer.write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("LONGROPE_HAND_OFF", str(place / "hand-off"))
    monkeypatch.setenv("LONGROPE_CHECKPOINT", str(place / "road-tune"))
    exec(compile(TRAINER, "trainer", "exec"), {})
    longrope("run", config, "--db", database)
    assert list(digests(database)) == STAGES


def test_checkpoint_that_was_trained_for_its_length_is_exported_with_its_own_tables(folder):
    config, database = folder / "mixed.toml", folder / "mixed.db"
    mixed = 'short_documents = "train.safetensors"\nshort_length = 64\nshort_batch_size = 1\n'
    config.write_text(HEAD + search(640) + FINETUNE + mixed + TABLES.replace("768", "640"))
    longrope("run", config, "--db", database)
    found = json.loads((folder / "mixed.stages/640/factors.json").read_text())["factors"][0]["lambda"]
    exported = json.loads((folder / "mixed.stages/export/road-export/config.json").read_text())
    trained = json.loads((folder / "mixed.stages/tune/road-tune/config.json").read_text())
    assert exported["rope_parameters"] == trained["rope_parameters"]
    assert exported["rope_parameters"]["long_factor"] == found
    # What it was trained with up to 512 tokens is what is measured there.
    schedule = json.loads((folder / "mixed.stages/evaluate/evaluation/longrope.json").read_text())
    assert [(entry["target_len"], entry["lambda"]) for entry in schedule["factors"]] == [(512, [1.0] * 32), (640, found)]


def test_checkpoint_without_recovery_shares_the_attention_factor_of_the_long_table(folder):
    config, database = folder / "plain.toml", folder / "plain.db"
    keys = 'attention_policies = ["su"]'
    config.write_text(HEAD + search(640, keys=keys) + FINETUNE + search(768, keys=keys) + TABLES)
    done = longrope("run", config, "--db", database)
    assert "the checkpoint's own factors get the attention factor of the long ones" in done.stderr
    long = json.loads((folder / "plain.stages/768/factors.json").read_text())["factors"][0]
    rope = json.loads((folder / "plain.stages/export/road-export/config.json").read_text())["rope_parameters"]
    assert rope["long_factor"] == long["lambda"] and rope["attention_factor"] == long["mscale"]["value"]
    assert rope["short_factor"] == json.loads((folder / "plain.stages/640/factors.json").read_text())["factors"][0]["lambda"]


def test_failure_is_kept_in_the_database_and_tried_again(folder, tmp_path):
    trainer = tmp_path / "trainer"
    trainer.write_text("#!/bin/sh\necho no space on the device >&2\nexit 1\n")
    trainer.chmod(0o755)
    config = write_road(folder, "failure.toml",
                        f'[[stage]]\nkind = "finetune"\nname = "tune"\ncommand = ["{trainer}"]\n')
    database = folder / "failure.db"
    failed = longrope("run", config, "--db", database, check=False)
    assert failed.returncode == 1 and "no space on the device (stage tune)" in failed.stderr
    assert stage(database, "tune")["state"] == "failed"
    assert "no space on the device" in stage(database, "tune")["detail"]
    trainer.write_text(TRAINER)
    longrope("run", config, "--db", database)
    assert list(digests(database)) == STAGES


def test_missing_documents_of_a_late_stage_are_refused_before_the_first(folder, tmp_path):
    config = write_road(folder, "late.toml", FINETUNE.replace("train.safetensors", "absent.safetensors"))
    refused = longrope("run", config, "--db", tmp_path / "late.db", check=False)
    assert refused.returncode == 2
    assert "stage tune: " in refused.stderr and "absent.safetensors" in refused.stderr
    assert not (tmp_path / "late.db").exists()


TRAINER = f"""#!{sys.executable}
import os, pathlib, shutil, struct, json
handed = pathlib.Path(os.environ["LONGROPE_HAND_OFF"])
assert json.loads((handed / "manifest.json").read_text())["schema"] == "longrope-hand-off/1"
out = pathlib.Path(os.environ["LONGROPE_CHECKPOINT"])
shutil.rmtree(out, ignore_errors=True)  # of a trainer that failed
shutil.copytree(handed / "model", out)
weights = out / "model.safetensors"
content = bytearray(weights.read_bytes())
content[-2:] = b"\\x80\\x3f"  # one more weight is 1
weights.unlink()  # a hard link to the model's own
weights.write_bytes(content)
"""


def test_command_trains_in_its_place(folder, tmp_path):
    program = tmp_path / "trainer"
    program.write_text(TRAINER)
    program.chmod(0o755)
    config = write_road(folder, "command.toml",
                        f'[[stage]]\nkind = "finetune"\nname = "tune"\ncommand = ["{program}"]\n')
    database = folder / "command.db"
    longrope("run", config, "--db", database)
    assert list(digests(database)) == STAGES
    untouched = (MODEL / "model.safetensors").read_bytes()
    assert (folder / "command.stages/tune/road-tune/model.safetensors").read_bytes() != untouched


def test_trainer_of_transformers_takes_the_hand_off(folder):
    example = ROOT / "docs" / "examples" / "train_with_transformers.py"
    config = write_road(folder, "trainer.toml", FINETUNE + f'command = ["{sys.executable}", "{example}"]\n')
    database = folder / "trainer.db"
    longrope("run", config, "--db", database)
    assert list(digests(database)) == STAGES

    def loss(model):
        report = longrope("score", "--model", model, "--documents", folder / "train.safetensors", "--length", 640, "--json")
        return json.loads(report.stdout)["total"]["nll_sum"]

    # The gate has seen that the factors are those handed off; and it did train.
    assert loss(folder / "trainer.stages/tune/road-tune") < loss(folder / "trainer.stages/tune/hand-off/model")


def test_fine_tuning_by_hand_waits_and_takes_only_what_was_handed_off(folder, tmp_path):
    config = write_road(folder, "by_hand.toml", '[[stage]]\nkind = "finetune"\nname = "tune"\nby_hand = true\n')
    database = folder / "by_hand.db"
    waiting = longrope("run", config, "--db", database, check=False)
    assert waiting.returncode == 3 and "longrope stage complete tune" in waiting.stderr
    again = longrope("run", config, "--db", database, check=False)
    assert again.returncode == 3, "it still waits"
    handed = folder / "by_hand.stages/tune/hand-off"
    manifest = json.loads((handed / "manifest.json").read_text())
    assert manifest["target_length"] == 640
    assert (manifest["settings"]["learning_rate"], manifest["settings"]["steps"]) == (2e-5, 400), "as published"

    def refusal(checkpoint):
        refused = longrope("stage", "complete", "tune", "--db", database, "--checkpoint", checkpoint, check=False)
        assert refused.returncode == 2
        return refused.stderr

    assert "must have been trained with the factors handed off" in refusal(MODEL)
    assert "must have new weights" in refusal(handed / "model")
    os.environ["LONGROPE_HAND_OFF"], os.environ["LONGROPE_CHECKPOINT"] = str(handed), str(tmp_path / "trained")
    exec(compile(TRAINER, "trainer", "exec"), {})
    longrope("stage", "complete", "tune", "--db", database, "--checkpoint", tmp_path / "trained")
    longrope("run", config, "--db", database)
    assert list(digests(database)) == STAGES


def test_skipped_fine_tuning_leaves_the_model_before_it(folder):
    config = write_road(folder, "skipped.toml", '[[stage]]\nkind = "finetune"\nname = "tune"\nby_hand = true\n')
    database = folder / "skipped.db"
    assert longrope("run", config, "--db", database, check=False).returncode == 3
    longrope("stage", "skip", "tune", "--db", database)
    longrope("run", config, "--db", database)
    assert stage(database, "768")["inputs"]["model"] == stage(database, "640")["inputs"]["model"]


def test_search_begins_with_the_rescaled_winner_of_another(folder):
    keys = 'seeds = ["yarn"]'
    config = folder / "warm.toml"
    config.write_text(HEAD + search(640, population=4, keys=keys)
                      + search(768, population=4, stage='seed_stages = ["640"]', keys=keys))
    database = folder / "warm.db"
    longrope("run", config, "--db", database)
    winner = json.loads((folder / "warm.stages/640/factors.json").read_text())["factors"][0]["lambda"]
    rescaled = [1 + (factor - 1) * (768 / 512 - 1) / (640 / 512 - 1) for factor in winner]
    begun = [json.loads(found) for (found,) in query(
        folder / "warm.stages/768/search.db", "SELECT lambda FROM v_history WHERE origin = 'seed:published:1'")]
    assert len(begun) == 1
    assert max(abs(found - wanted) for found, wanted in zip(begun[0], rescaled)) < 1e-12
    assert "seed 640" in stage(database, "768")["inputs"]
    longrope("stage", "retry", "640", "--db", database)
    assert states(database) == {"640": "pending", "768": "pending"}, "it was seeded by the other"


def test_second_process_on_one_pipeline_is_refused(folder):
    config = write_road(folder, "locked.toml")
    database = folder / "locked.db"
    with Process("run", config, "--db", database) as run:
        run.read_until("stage 640")
        refused = longrope("run", config, "--db", database, check=False)
        assert refused.returncode == 2 and "in use" in refused.stderr
        run.kill()
        run.finish()
