"""longrope check-engine tells real engines that apply the factors from those that do not.

Servers: llama.cpp's own (package xllamacpp) and llama-cpp-python's, over GGUF files of the bundled model with the factors
as tensors, as keys, and without. vLLM and SGLang need a GPU: a server in this process answers in their forms what
transformers computes of an exported directory. Then transformers and llama.cpp as processes.
"""

import contextlib
import http.server
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import gguf
import pytest
from safetensors.numpy import load_file

from longrope_processes import MODEL, PATIENCE_SECONDS, ROOT, longrope

sys.path.insert(0, str(ROOT / "bench"))
from llama_cpp_reference import write_gguf  # noqa: E402

ORIGINAL, TARGET = 512, 2048
CONTEXT = TARGET + 256  # of a server: a token is generated behind the document
BOS = 256
EXPORT_GGUF = ROOT / "tools" / "export_gguf.py"
BFLOAT16_DIFFERENCE = 1e-2  # nats per token: transformers computes in the dtype of the weights; 0.003 here
FLOAT32_DIFFERENCE = 1e-3  # nats per token between two engines in float32: each was within 2e-4 here


def require(module):
    """Skips, aloud, where a package of tools/requirements-bench.txt is not installed."""
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        pytest.skip(f"NOT RUN: {module} is not installed (tools/install_dependencies.sh bench)")


def characters_of_bytes():
    """GPT-2's alphabet: a printable character for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


class ByteTokenizerWriter(gguf.GGUFWriter):
    """Writes a tokenizer whose tokens are bytes where the bench writes none, because servers need one, and a context that
    the model does not reach by itself, because llama.cpp's server admits no more than a file says."""

    def add_context_length(self, length):
        super().add_context_length(TARGET)

    def add_tokenizer_model(self, model):
        super().add_tokenizer_model("gpt2")
        self.add_tokenizer_pre("gpt-2")
        alphabet = characters_of_bytes()
        self.add_token_list([*alphabet, "<s>", "</s>"])
        control = gguf.TokenType.CONTROL
        self.add_token_types([gguf.TokenType.NORMAL] * 256 + [control, control])
        self.add_token_merges([f"{alphabet[254]} {alphabet[255]}"])  # llama.cpp wants some; these bytes are in no text
        self.add_bos_token_id(BOS)
        self.add_eos_token_id(BOS + 1)
        self.add_add_bos_token(True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A document, YaRN's factors, exports of them for transformers, and GGUF files."""
    folder = tmp_path_factory.mktemp("engines")
    longrope("documents", "--length", TARGET, "--count", 1, "--out", folder / "documents.safetensors",
             MODEL / "text" / "heldout.txt")
    factors = json.loads(longrope("factors", "--model", MODEL, "--length", TARGET, "--method", "yarn", "--json").stdout)
    (folder / "factors.csv").write_text("\n".join(map(repr, factors["lambda"])))
    longrope("import", folder / "factors.csv", "--model", MODEL, "--length", TARGET, "--attention-factor", 1.0625,
             "--out", folder / "factors.json")
    longrope("export", "--factors", folder / "factors.json", "--model", MODEL, "--format", "hf", "--out", folder / "tensors")
    longrope("export", "--factors", folder / "factors.json", "--model", MODEL, "--engine", "llama.cpp", "--out",
             folder / "keys")
    shutil.copytree(MODEL, folder / "model", ignore=shutil.ignore_patterns("text"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gguf, "GGUFWriter", ByteTokenizerWriter)
        write_gguf(folder, "fp32").rename(folder / "without.gguf")
    for kind in ("tensors", "keys"):
        subprocess.run([sys.executable, "-B", EXPORT_GGUF, folder / kind / "config.json", "--base", folder / "without.gguf",
                        "--out", folder / f"{kind}.gguf"], check=True, capture_output=True)
    return folder


def check(folder, *arguments, documents="documents.safetensors", factors="factors.json", length=TARGET):
    return longrope("check-engine", "--model", MODEL, "--documents", folder / documents, "--length", length, "--factors",
                    folder / factors, "--threads", 1, *arguments, check=False)


def require_verdict(done, verdict, difference=FLOAT32_DIFFERENCE):
    """The verdict, its exit code, and the NLL within `difference`."""
    assert done.returncode == {"applies": 0, "ignores": 1}[verdict], done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["verdict"] == verdict
    ours = found["nll_with_factors"] if verdict == "applies" else found["nll_without_factors"]
    assert found["engine_nll"] == pytest.approx(ours, abs=difference)
    assert found["nll_without_factors"] > found["nll_with_factors"] + 1
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, url, path):
    """A server process; answers at `path` before the block is entered."""
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    complaints = []
    reader = threading.Thread(target=lambda: complaints.extend(process.stderr), daemon=True)
    reader.start()
    try:
        begin = time.monotonic()
        while True:
            assert process.poll() is None, "".join(complaints)
            assert time.monotonic() - begin < PATIENCE_SECONDS, "".join(complaints)
            with contextlib.suppress(OSError), urllib.request.urlopen(url + path, timeout=5) as answer:
                if answer.status == 200:
                    break
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


LLAMA_CPP = """
import sys, xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.port, parameters.n_ctx, parameters.n_parallel, parameters.warmup = int(sys.argv[2]), int(sys.argv[3]), 1, False
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1  # several wait for each other on a busy machine
server = xllamacpp.Server(parameters)
sys.stdin.read()
"""


@contextlib.contextmanager
def llama_cpp(model, context=CONTEXT):
    require("xllamacpp")
    port = free_port()
    command = [sys.executable, "-B", "-c", LLAMA_CPP, model, port, context]
    with running(command, f"http://127.0.0.1:{port}", "/health") as url:
        yield url


@contextlib.contextmanager
def llama_cpp_python(model):
    require("llama_cpp")
    require("starlette_context")
    port = free_port()
    command = [sys.executable, "-B", "-m", "llama_cpp.server", "--model", model, "--n_ctx", CONTEXT, "--port", port,
               "--n_threads", 1, "--n_threads_batch", 1]
    with running(command, f"http://127.0.0.1:{port}", "/v1/models") as url:
        yield url


@pytest.mark.parametrize("model, verdict", [("tensors", "applies"), ("keys", "applies"), ("without", "ignores")])
def test_the_server_of_llama_cpp_is_asked_for_64_next_tokens(folder, model, verdict):
    with llama_cpp(folder / f"{model}.gguf") as url:
        found = require_verdict(check(folder, "--url", url, "--json"), verdict)
    assert found["scored_tokens"] == 64
    assert "llama.cpp" in found["api"]


@pytest.mark.parametrize("model, verdict", [("tensors", "applies"), ("without", "ignores")])
def test_the_server_of_llama_cpp_python_echoes_the_document(folder, model, verdict):
    with llama_cpp_python(folder / f"{model}.gguf") as url:
        found = require_verdict(check(folder, "--url", url, "--json"), verdict)
    assert found["scored_tokens"] == TARGET - 2
    assert "llama-cpp-python" in found["api"]


def test_a_context_too_short_for_the_document_is_named(folder):
    with llama_cpp(folder / "tensors.gguf", context=1024) as url:
        done = check(folder, "--url", url)
    assert done.returncode == 2 and done.stdout == ""
    assert "context size" in done.stderr and "1024" in done.stderr, done.stderr


class Forms(http.server.BaseHTTPRequestHandler):
    """Answers in the forms of vLLM and SGLang. `log_probabilities` are of document tokens [1:]."""

    def log_message(self, *_):
        pass

    def reply(self, status, content):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/v1/models":
            self.reply(200, {"object": "list", "data": [{"id": "my-llama", "object": "model"}]})
        else:
            self.reply(404, {"detail": "Not Found"})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/completions":
            self.reply(404, {"detail": "Not Found"})
            return
        self.server.authorization = self.headers.get("Authorization")
        assert request["model"] == "my-llama"
        values = self.server.log_probabilities(request["prompt"])
        choice = {"index": 0, "text": "", "finish_reason": "length"}
        if self.server.form == "vLLM":
            assert request["prompt_logprobs"] == 1
            choice["prompt_logprobs"] = [None] + [{str(token): {"logprob": value, "rank": 1, "decoded_token": ""}}
                                                  for token, value in zip(request["prompt"][1:], values, strict=True)]
        else:
            assert request["echo"] and request["logprobs"] == 1
            choice["logprobs"] = {"token_logprobs": [None, *values, -0.5], "tokens": [], "text_offset": []}
        prompt = len(request["prompt"])
        self.reply(200, {"choices": [choice], "usage": {"prompt_tokens": prompt, "completion_tokens": 1}})


@contextlib.contextmanager
def answering(form, log_probabilities):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forms)
    server.form, server.log_probabilities, server.authorization = form, log_probabilities, None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def by_transformers(directory):
    """Log-probabilities of tokens [1:] by the model in a directory."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()

    def log_probabilities(tokens):
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0, :-1]
        every = torch.log_softmax(logits.double(), dim=-1)
        return every[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])].tolist()

    return log_probabilities


@pytest.mark.parametrize("form", ["vLLM", "SGLang"])
@pytest.mark.parametrize("directory, verdict", [("tensors", "applies"), ("model", "ignores")])
def test_prompt_log_probabilities_are_taken_in_either_form(folder, form, directory, verdict, monkeypatch):
    monkeypatch.setenv("LONGROPE_ENGINE_KEY", "secret")
    with answering(form, by_transformers(folder / directory)) as (url, server):
        found = require_verdict(check(folder, "--url", f"{url}/v1", "--json"), verdict)
        assert server.authorization == "Bearer secret"
    assert found["scored_tokens"] == TARGET - 1


@pytest.mark.parametrize("directory, verdict", [("tensors", "applies"), ("model", "ignores")])
def test_transformers_is_run_on_a_directory(folder, directory, verdict):
    found = require_verdict(check(folder, "--run", folder / directory, "--python", sys.executable, "--json"), verdict,
                            BFLOAT16_DIFFERENCE)
    assert found["scored_tokens"] == TARGET - 1
    assert found["api"].startswith("transformers 5")


@pytest.mark.parametrize("model, verdict", [("tensors", "applies"), ("keys", "applies"), ("without", "ignores")])
def test_llama_cpp_is_run_on_a_gguf_file(folder, model, verdict):
    require("llama_cpp")
    found = require_verdict(check(folder, "--run", folder / f"{model}.gguf", "--python", sys.executable, "--json"), verdict)
    assert found["scored_tokens"] == TARGET - 1
    assert found["api"].startswith("llama.cpp")


class FourBitWriter(ByteTokenizerWriter):
    """Writes matrices as Q4_0, the coarsest that llama.cpp's documents call usual."""

    def add_tensor(self, name, tensor, raw_shape=None, raw_dtype=None, **rest):
        if tensor.ndim == 2:
            raw_dtype = gguf.GGMLQuantizationType.Q4_0
            tensor = gguf.quantize(tensor, raw_dtype)
        super().add_tensor(name, tensor, raw_shape=raw_shape, raw_dtype=raw_dtype, **rest)


@pytest.mark.parametrize("kind, verdict", [("tensors", "applies"), ("without", "ignores")])
def test_the_tolerance_covers_weights_of_four_bits(folder, tmp_path, kind, verdict):
    require("llama_cpp")
    (tmp_path / "model").symlink_to(folder / "model")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gguf, "GGUFWriter", FourBitWriter)
        write_gguf(tmp_path, "fp32").rename(tmp_path / "without.gguf")
    subprocess.run([sys.executable, "-B", EXPORT_GGUF, folder / "tensors" / "config.json", "--base",
                    tmp_path / "without.gguf", "--out", tmp_path / "tensors.gguf"], check=True, capture_output=True)
    done = check(folder, "--run", tmp_path / f"{kind}.gguf", "--python", sys.executable, "--json")
    found = json.loads(done.stdout)
    assert found["verdict"] == verdict, found
    kinds = {tensor.tensor_type for tensor in gguf.GGUFReader(tmp_path / f"{kind}.gguf").tensors}
    assert gguf.GGMLQuantizationType.Q4_0 in kinds


def constant(value):
    return lambda tokens: [value] * (len(tokens) - 1)


def test_the_verdict_is_said_in_words(folder):
    with answering("vLLM", constant(-2.5)) as (url, _):
        done = check(folder, "--url", url)
    assert done.returncode == 1
    assert "The engine does neither" in done.stdout and "engine 2.5000" in done.stdout, done.stdout


def test_a_document_of_the_original_length_cannot_tell(folder):
    with answering("vLLM", constant(-1.0)) as (url, _):
        done = check(folder, "--url", url, length=ORIGINAL)
        assert done.returncode == 2
        assert "This document cannot tell" in done.stdout, done.stdout
        # Both of ours are known then, and a smaller tolerance may be enough.
        found = json.loads(check(folder, "--url", url, "--json", length=ORIGINAL).stdout)
    assert found["verdict"] == "cannot tell" and abs(found["nll_with_factors"] - found["nll_without_factors"]) < 0.1


@pytest.mark.parametrize("arguments, message", [
    ([], "one of the two: --url or --run"),
    (["--url", "localhost:8000"], "an engine's address must be http://HOST:PORT"),
    (["--url", "http://127.0.0.1:1"], "an engine must answer: "),
    (["--run", "/nowhere"], "nothing is there (/nowhere)"),
    (["--run", str(MODEL), "--python", "/nowhere"], "an engine must measure the document: "),
    (["--run", str(MODEL), "--python", "false"], "false has failed with exit code 1"),
    (["--run", str(MODEL), "--python", "echo"], "JSON must be well-formed"),
    (["--url", "http://127.0.0.1:1", "--api", "ollama"], "ollama"),
    (["--url", "http://127.0.0.1:1", "--tolerance", "0"], "--tolerance"),
])
def test_what_allows_no_verdict_exits_with_2(folder, arguments, message):
    done = check(folder, *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr, done.stderr


def test_answers_that_fit_another_prompt_are_refused(folder):
    for form, log_probabilities, message in (
            ("SGLang", lambda tokens: [-1.0] * (len(tokens) - 2), None),  # then the generated token is taken for the last
            ("SGLang", lambda tokens: [-1.0] * (len(tokens) - 3), "for each of the 2048 tokens of the prompt: 2047"),
            ("SGLang", lambda tokens: [-1.0] * 5 + [float("nan")] + [-1.0] * (len(tokens) - 7), "JSON must be well-formed"),
            ("SGLang", constant(None), "a log-probability must be a number of at most 0: null at position 1")):
        with answering(form, log_probabilities) as (url, _):
            done = check(folder, "--url", url)
        if message is None:
            assert done.returncode == 1, "the count alone cannot tell, the NLL does"
        else:
            assert done.returncode == 2 and message in done.stderr, done.stderr


def test_a_document_without_the_servers_bos_is_refused_by_llama_cpp_python(folder):
    longrope("documents", "--length", TARGET, "--count", 1, "--no-bos", "--out", folder / "no-bos.safetensors",
             MODEL / "text" / "heldout.txt")
    assert next(iter(load_file(folder / "no-bos.safetensors").values()))[0] != BOS
    with llama_cpp_python(folder / "tensors.gguf") as url:
        done = check(folder, "--url", url, documents="no-bos.safetensors")
    assert done.returncode == 2
    assert "the server adds [256]" in done.stderr, done.stderr
