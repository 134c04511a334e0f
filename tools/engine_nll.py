#!/usr/bin/env python3
"""What an engine in this process says a document costs: `longrope check-engine --run MODEL` starts this.

MODEL is a Hugging Face directory, loaded as transformers loads it, or a .gguf file, loaded as llama.cpp does. All tokens go
through in one context of exactly their number, so that the table of the factors for this length is taken. Prints one line of
JSON: the engine, the NLL in nats, summed, and how many tokens it is the sum of (all but the first).

    tools/engine_nll.py my-llama-8k --documents books.safetensors --document book-0 --length 8192
"""

import argparse
import ctypes
import json
import os
import sys

ROWS = 512  # tokens of a batch of llama.cpp; rows of logits that are made double at once


def read_tokens(path, name, length):
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        tokens = file.get_tensor(name)
    if len(tokens) < length:
        raise ValueError(f"the document must have {length} tokens: {len(tokens)} ({name}, {path})")
    return tokens[:length].astype("int64")


def nll_of(logits, targets):
    """NLL of the targets in double precision, summed. logits [rows, vocabulary], targets [rows]."""
    import numpy

    total = 0.0
    for begin in range(0, len(targets), ROWS):
        rows = numpy.asarray(logits[begin : begin + ROWS], dtype=numpy.float64)[: len(targets) - begin]
        highest = rows.max(axis=1)
        log_sum = numpy.log(numpy.exp(rows - highest[:, None]).sum(axis=1)) + highest
        total += float((log_sum - rows[numpy.arange(len(rows)), targets[begin : begin + len(rows)]]).sum())
    return total


def nll_by_transformers(directory, tokens, threads):
    import torch
    import transformers

    torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype="auto", local_files_only=True).eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens)[None], use_cache=False).logits[0, :-1]
    return f"transformers {transformers.__version__}", nll_of(_Rows(logits), tokens[1:])


class _Rows:
    """A tensor of any dtype, of which rows are made float32: numpy has no bfloat16."""

    def __init__(self, tensor):
        self._tensor = tensor

    def __getitem__(self, rows):
        return self._tensor[rows].float().numpy()


def nll_by_llama_cpp(path, tokens, threads):
    import llama_cpp
    import numpy

    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), llama_cpp.llama_model_default_params())
    if not model:
        raise ValueError(f"llama.cpp must be able to load the model ({path})")
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = len(tokens)
    parameters.n_batch = parameters.n_ubatch = ROWS
    parameters.n_threads = parameters.n_threads_batch = threads
    context = llama_cpp.llama_init_from_model(model, parameters)
    if not context:
        raise MemoryError(f"llama.cpp cannot make a context of {len(tokens)} tokens")
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    if tokens.max() >= vocabulary:
        raise ValueError(f"the document must be of the model's tokenizer: token {tokens.max()} of {vocabulary} ({path})")
    batch = llama_cpp.llama_batch_init(ROWS, 0, 1)
    total = 0.0
    for begin in range(0, len(tokens), ROWS):
        rows = tokens[begin : begin + ROWS]
        batch.n_tokens = len(rows)
        for index, token in enumerate(rows):
            batch.token[index] = int(token)
            batch.pos[index] = begin + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = 1
        if llama_cpp.llama_decode(context, batch) != 0:
            raise ValueError(f"llama.cpp must be able to decode tokens {begin} to {begin + len(rows)} ({path})")
        logits = numpy.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (len(rows), vocabulary))
        total += nll_of(logits, tokens[begin + 1 : begin + 1 + len(rows)])
    return f"llama.cpp (llama-cpp-python {llama_cpp.__version__})", total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="Hugging Face directory, or a .gguf file")
    parser.add_argument("--documents", required=True, help="documents file")
    parser.add_argument("--document", required=True, help="name of a document in it")
    parser.add_argument("--length", required=True, type=int, help="its first tokens")
    parser.add_argument("--threads", default=1, type=int, help="CPU threads [1]")
    arguments = parser.parse_args()
    try:
        tokens = read_tokens(arguments.documents, arguments.document, arguments.length)
        measure = nll_by_llama_cpp if arguments.model.endswith(".gguf") else nll_by_transformers
        engine, nll_sum = measure(arguments.model, tokens, arguments.threads)
    except ImportError as error:
        sys.exit(f"engine_nll: {error.name} must be installed for {sys.executable} (--python)")
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        sys.exit(f"engine_nll: {error}")
    print(json.dumps({"engine": engine, "nll_sum": nll_sum, "scored_tokens": len(tokens) - 1}))


if __name__ == "__main__":
    main()
