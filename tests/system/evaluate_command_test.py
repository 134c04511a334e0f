"""`longrope evaluate` on the bundled model, against transformers, which gets rope parameters and computes everything."""

import csv
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from longrope_processes import MODEL, ROOT, copy_model, longrope

torch = pytest.importorskip("torch", reason="NOT RUN: torch is not installed (tools/install_dependencies.sh test)")
transformers = pytest.importorskip("transformers", reason="NOT RUN: transformers is not installed "
                                   "(tools/install_dependencies.sh test)")

METHODS = ["base", "pi", "ntk", "yarn", "dynamic_ntk"]
TRAINED = 512
HEAD_DIM = 64
LENGTHS = [TRAINED, 1024, 2048]
METADATA = {"format": "longrope-documents/1", "tokenizer_digest": "byte-level", "source": "test"}


def prepare_passkeys(out, length, samples=3, depths="0,0.5,1"):
    subprocess.run([sys.executable, "-B", ROOT / "tools" / "prepare_documents.py", "--byte-level", "--kind", "passkey",
                    "--length", str(length), "--samples", str(samples), "--depths", depths, "--out", out], check=True)
    return out


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    path = tmp_path_factory.mktemp("documents") / "heldout.safetensors"
    longrope("documents", "--length", 4200, "--count", 2, "--out", path, MODEL / "text" / "heldout.txt")
    return path


@pytest.fixture(scope="module")
def passkeys(tmp_path_factory):
    return prepare_passkeys(tmp_path_factory.mktemp("passkeys") / "passkeys.safetensors", 510)


def evaluate(documents, *arguments, model=MODEL):
    return longrope("evaluate", "--model", model, "--documents", documents, "--threads", 2, *arguments).stdout


def report(documents, *arguments, **keywords):
    return json.loads(evaluate(documents, *arguments, "--json", **keywords))


def refusal(documents, *arguments, model=MODEL):
    done = longrope("evaluate", "--model", model, "--documents", documents, *arguments, check=False)
    assert done.returncode == 2 and not done.stdout, (done.returncode, done.stdout, done.stderr)
    return done.stderr


def rope_parameters(method, ratio, longest_ratio):
    """What a user of transformers would write into config.json."""
    plain = {"rope_type": "default", "rope_theta": 10000.0}
    if method == "base" or ratio == 1.0:
        return plain
    return plain | {
        "pi": {"rope_type": "linear", "factor": ratio},
        "ntk": {"rope_theta": 10000.0 * ratio ** (HEAD_DIM / (HEAD_DIM - 2))},
        "yarn": {"rope_type": "yarn", "factor": ratio, "original_max_position_embeddings": TRAINED},
        "dynamic_ntk": {"rope_type": "dynamic", "factor": longest_ratio},
    }[method]


def transformers_model(method="base", length=TRAINED, longest=LENGTHS[-1], folder=MODEL):
    config = transformers.AutoConfig.from_pretrained(folder)
    if folder == MODEL:
        config.rope_parameters = rope_parameters(method, length / TRAINED, longest / TRAINED)
    return transformers.AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).eval()


def perplexity_of(model, path, length, count):
    nll = 0.0
    arrays = load_file(path)
    for name in sorted(arrays)[:count]:
        tokens = torch.from_numpy(arrays[name][:length].astype(np.int64))
        with torch.inference_mode():
            logits = model(tokens[None]).logits[0, :-1].double()
        nll += torch.nn.functional.cross_entropy(logits, tokens[1:], reduction="sum").item()
    return np.exp(nll / (count * (length - 1)))


def entries(found, kind="single"):
    return {(entry["method"], entry["length"]): entry for entry in found["perplexity"] if entry["kind"] == kind}


def test_perplexities_are_those_of_transformers(documents):
    found = report(documents, "--lengths", ",".join(map(str, LENGTHS)), "--count", 2)
    assert [method["name"] for method in found["methods"]] == METHODS
    by_method = entries(found)
    assert len(by_method) == len(METHODS) * len(LENGTHS) == len(found["perplexity"])
    for (method, length), entry in by_method.items():
        theirs = perplexity_of(transformers_model(method, length), documents, length, 2)
        assert entry["perplexity"] == pytest.approx(theirs, rel=1e-4), (method, length)
        assert entry["scored_tokens"] == 2 * (length - 1)
        assert [document["name"] for document in entry["documents"]] == sorted(load_file(documents))
    # At the trained length all methods are the model as it is; beyond it no two are the same.
    for length, different in zip(LENGTHS, (1, 5, 5), strict=True):
        assert len({by_method[method, length]["nll_sum"] for method in METHODS}) == different


def test_a_model_that_reaches_further_is_extended_from_there(documents, tmp_path):
    model = copy_model(tmp_path / "linear")
    config = json.loads((model / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    (model / "config.json").write_text(json.dumps(config))
    found = report(documents, "--lengths", "1024,2048", "--count", 1, model=model)
    assert (found["model"]["original_length"], found["model"]["reached_length"]) == (512, 1024)
    by_method = entries(found)
    own = perplexity_of(transformers_model(folder=model), documents, 1024, 1)
    for method in METHODS:
        assert by_method[method, 1024]["perplexity"] == pytest.approx(own, rel=1e-4)
    # Linear twice is linear of the product.
    four = perplexity_of(transformers_model("pi", 4 * TRAINED), documents, 2048, 1)
    assert by_method["pi", 2048]["perplexity"] == pytest.approx(four, rel=1e-4)


def answered(model, prompts, length):
    """The prompts with what the model answers greedily, right, and with another last token, wrong; both masked."""
    tensors = {}
    for index, prompt in enumerate(prompts):
        answer = generated(model, prompt, length - len(prompt))
        for sample, change in ((2 * index, 0), (2 * index + 1, 1)):
            tokens = np.concatenate([prompt, answer]).astype(np.int32)
            tokens[-1] = (tokens[-1] + change) % 256
            mask = np.zeros(length, dtype=np.uint8)
            mask[len(prompt):] = 1
            tensors |= {f"made-0.500-{sample:02}": tokens, f"made-0.500-{sample:02}.scored": mask}
    return tensors


def generated(model, prompt, count):
    tokens = torch.from_numpy(prompt.astype(np.int64))[None]
    with torch.inference_mode():
        out = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=count, min_new_tokens=count,
                             do_sample=False, pad_token_id=0)
    return out[0, len(prompt):].numpy()


def right_by_depth(model, path):
    right = {}
    arrays = load_file(path)
    for name in [name for name in arrays if not name.endswith(".scored")]:
        positions = np.flatnonzero(arrays[name + ".scored"])
        exact = (generated(model, arrays[name][:positions[0]], len(positions)) == arrays[name][positions]).all()
        depth = float(name.split("-")[-2])
        right[depth] = right.get(depth, 0) + int(exact)
    return right


@pytest.mark.parametrize(("length", "methods"), [(510, METHODS), (1024, ["base", "pi", "ntk", "yarn"])])
def test_pass_keys_are_those_that_transformers_generates(documents, tmp_path, length, methods):
    """Dynamic NTK generates with other angles at every length, so it is compared where it does nothing."""
    passkeys = prepare_passkeys(tmp_path / "passkeys.safetensors", length)
    arrays = load_file(passkeys)
    names = sorted(name for name in arrays if not name.endswith(".scored"))
    prompts = [arrays[name][:length - 4] for name in names[::4]]
    made = tmp_path / "made.safetensors"
    save_file(answered(transformers_model("yarn", max(length, TRAINED)), prompts, length), made, METADATA)
    found = report(documents, "--lengths", "512,1024", "--count", 1, "--passkey", passkeys, "--needle", made)
    assert [(file["kind"], file["file"], file["count"]) for file in found["retrieval_documents"]] == [
        ("passkey", "passkeys.safetensors", 9), ("needle", "made.safetensors", 2 * len(prompts))]
    for method in methods:
        model = transformers_model(method, max(length, TRAINED), longest=1024)
        for kind, path, answers in (("passkey", passkeys, 3), ("needle", made, 2 * len(prompts))):
            cells = [cell for cell in found["retrieval"] if (cell["kind"], cell["method"]) == (kind, method)]
            assert {cell["depth"]: cell["right"] for cell in cells} == right_by_depth(model, path)
            for cell in cells:
                assert cell["length"] == length and cell["answers"] == answers
                assert cell["accuracy"] == cell["right"] / answers
                assert 0.0 <= cell["interval"][0] <= cell["accuracy"] <= cell["interval"][1] <= 1.0
    yarn = [cell for cell in found["retrieval"] if (cell["kind"], cell["method"]) == ("needle", "yarn")]
    assert yarn[0]["right"] == len(prompts)  # half of what was made: neither all nor nothing


def test_factor_files_and_windows_are_what_score_gives(documents, tmp_path):
    factors = tmp_path / "mine.csv"
    factors.write_text("\n".join(str(1 + index / 10) for index in range(HEAD_DIM // 2)) + "\n")
    found = report(documents, "--lengths", "4200,600", "--count", 1, "--sliding", "1024:256", "--factors", factors)
    assert found["methods"][-1]["name"] == "mine" and found["methods"][-1]["file"] == "mine.csv"
    assert [entry["length"] for entry in found["methods"][0]["factors"]] == [600, 1024, 4200]
    single, sliding = entries(found), entries(found, "sliding")
    assert {length for _, length in sliding} == {4200} and {length for _, length in single} == {600, 4200}
    for method, name in (("mine", factors), ("yarn", "yarn"), ("base", "none")):
        def score(length, *arguments, name=name):
            return json.loads(longrope("score", "--model", MODEL, "--documents", documents, "--count", 1, "--length",
                                       length, "--factors", name, "--threads", 2, "--json", *arguments).stdout)
        alone = score(4200)
        assert single[method, 4200]["nll_sum"] == alone["total"]["nll_sum"]
        assert single[method, 4200]["blocks"] == alone["total"]["blocks"] and len(alone["total"]["blocks"]) == 2
        assert single[method, 4200]["attention_factor"] == alone["attention_factor"]
        windows = score(4200, "--fitness", "sliding", "--window", 1024, "--stride", 256)
        entry = sliding[method, 4200]
        assert (entry["window"], entry["stride"]) == (1024, 256)
        assert entry["attention_factor"] == windows["attention_factor"]
        for key in ("nll_sum", "perplexity", "ppl_yarn", "windows"):
            assert entry[key] == windows["total"][key]


def test_equal_runs_write_equal_bytes_whatever_the_order_of_lengths(documents, passkeys, tmp_path):
    outputs = []
    for run, lengths in ((1, "512,1024"), (2, "1024,512")):
        files = [tmp_path / f"{run}.{form}" for form in ("json", "md", "csv")]
        stdout = evaluate(documents, "--lengths", lengths, "--count", 1, "--passkey", passkeys, "--json",
                          "--json-out", files[0], "--markdown-out", files[1], "--csv-out", files[2])
        outputs.append([file.read_bytes() for file in files])
        assert stdout.encode() == outputs[-1][0]
    assert outputs[0] == outputs[1]
    found = json.loads(outputs[0][0])
    assert found["schema"] == "longrope-evaluation/1" and found["model"]["name"] == MODEL.name
    markdown = outputs[0][1].decode()
    assert markdown == evaluate(documents, "--length", "512,1k", "--count", 1, "--passkey", passkeys)
    assert "| tokens | base | pi | ntk | yarn | dynamic_ntk |" in markdown and "| 1024 | " in markdown
    assert "### dynamic_ntk\n\n| tokens | depth 0 | depth 0.5 | depth 1 |" in markdown
    rows = list(csv.DictReader(outputs[0][2].decode().splitlines()))
    assert [float(row["perplexity"]) for row in rows if row["table"] == "perplexity"] == [
        entry["perplexity"] for entry in found["perplexity"]]
    assert [(int(row["right"]), int(row["answers"])) for row in rows if row["table"] == "passkey"] == [
        (cell["right"], cell["answers"]) for cell in found["retrieval"]]


def test_documents_have_a_digest_that_others_can_compute(documents, passkeys):
    sys.path.insert(0, str(ROOT / "tools"))
    from document_preparation.documents_file import document_digest

    found = report(documents, "--lengths", 512, "--count", 1, "--passkey", passkeys)
    for file, path, count in ((found["documents"], documents, 1), (found["retrieval_documents"][0], passkeys, 9)):
        arrays = load_file(path)
        names = sorted(name for name in arrays if not name.endswith(".scored"))[:count]
        digests = [document_digest(arrays[name], arrays.get(name + ".scored")) for name in names]
        assert file["count"] == count and file["file"] == path.name
        assert file["digest"] == hashlib.sha256("".join(digests).encode()).hexdigest()


@pytest.mark.parametrize(("arguments", "words"), [
    (["--lengths", "512,4201"], ["4201", "4200", "heldout-0000", "heldout.safetensors"]),
    (["--lengths", "512,512"], ["lengths must differ: 512", "--lengths"]),
    (["--lengths", "512,1"], ["--lengths"]),
    (["--lengths", "512", "--sliding", "513:1"], ["length of 512: 513", "--sliding"]),
    (["--lengths", "512", "--sliding", "256:256"], ["1 to 255", ": 256", "--sliding"]),
    (["--lengths", "512", "--sliding", "256"], ["WINDOW:STRIDE", ": 256", "--sliding"]),
    (["--lengths", "512", "--sliding", "256:12x"], ["WINDOW:STRIDE", "256:12x"]),
    (["--lengths", "512", "--factors", "no/yarn.json"], ["names of methods must differ", "no/yarn.json"]),
    (["--lengths", "512", "--factors", "missing.json"], ["missing.json"]),
    (["--lengths", "512", "--dtype", "fp8"], ["fp8"]),
    (["--lengths", "512", "--passkey", "missing.safetensors"], ["missing.safetensors"]),
])
def test_bad_input_is_refused_with_rule_value_and_place(documents, arguments, words):
    message = refusal(documents, *arguments)
    for word in words:
        assert word in message, message


def test_documents_without_depth_mask_or_a_second_time_are_refused(documents, passkeys, tmp_path):
    arguments = ("--lengths", 512, "--count", 1)
    message = refusal(documents, *arguments, "--needle", documents)
    assert "mask of the answers" in message and "heldout-0000" in message and "heldout.safetensors" in message
    arrays = load_file(passkeys)
    name = next(name for name in arrays if not name.endswith(".scored"))
    save_file({"key": arrays[name], "key.scored": arrays[name + ".scored"]}, tmp_path / "key.safetensors", METADATA)
    message = refusal(documents, *arguments, "--passkey", tmp_path / "key.safetensors")
    assert "must end in -DEPTH-SAMPLE" in message and ": key (" in message and "key.safetensors" in message
    message = refusal(documents, *arguments, "--passkey", passkeys, "--passkey", passkeys)
    assert "passkey documents must differ" in message and "passkey-0.000-00" in message
