"""The same forward pass and loss by llama.cpp (package llama-cpp-python): a reference of score_against_engines.py.

Weights go into a GGUF file in the dtype that is asked for; keys and values are cached in it too. Tokens go through in
batches of llama.cpp's default, 512; the loss is Torch's, of the logits of each batch.
"""

import ctypes
import json
import time

from measurement import print_measurement

BATCH = 512
FLASH_ATTENTION_AUTOMATIC = -1
GGML_TYPES = {"fp32": 0, "bf16": 30}  # enum ggml_type


def write_gguf(folder, dtype):
    """Writes `folder`/model-`dtype`.gguf from the Hugging Face Llama in `folder`/model; returns its path."""
    import gguf
    import torch
    from safetensors.torch import load_file

    config = json.loads((folder / "model" / "config.json").read_text(encoding="utf-8"))
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    path = folder / f"model-{dtype}.gguf"
    if path.exists():
        return path
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_tokenizer_model("none")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    matrix_type = {"fp32": gguf.GGMLQuantizationType.F32, "bf16": gguf.GGMLQuantizationType.BF16}[dtype]
    for name, tensor in load_file(folder / "model" / "model.safetensors").items():
        values = tensor.to(torch.float32)
        for part, count in (("q_proj", heads), ("k_proj", kv_heads)):
            if part in name:  # llama.cpp rotates neighbouring channels, Hugging Face the halves of a head
                rows, columns = values.shape
                values = values.reshape(count, 2, rows // count // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        kind = matrix_type if values.dim() == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(names.get_name(name, (".weight",)), gguf.quantize(values.contiguous().numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def run_llama_cpp(folder, length, dtype, threads):
    """One measurement in this process: prints what `longrope score --json` gives in "total"."""
    import llama_cpp
    import numpy
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(threads)
    tokens = load_file(folder / "documents.safetensors")["random"][:length].long()
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(write_gguf(folder, dtype)).encode(),
                                                 llama_cpp.llama_model_default_params())
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = length
    parameters.n_batch = parameters.n_ubatch = BATCH
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.type_k = parameters.type_v = GGML_TYPES[dtype]
    parameters.flash_attn_type = FLASH_ATTENTION_AUTOMATIC
    context = llama_cpp.llama_init_from_model(model, parameters)
    if not context:
        raise SystemExit("llama.cpp cannot make a context")
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
    nll_sum = 0.0
    start = time.perf_counter()
    for begin in range(0, length, BATCH):
        end = min(begin + BATCH, length)
        batch.n_tokens = end - begin
        for index in range(batch.n_tokens):
            batch.token[index] = int(tokens[begin + index])
            batch.pos[index] = begin + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = 1
        if llama_cpp.llama_decode(context, batch) != 0:
            raise SystemExit(f"llama.cpp cannot decode tokens {begin} to {end}")
        scored = min(end, length - 1) - begin  # the last token predicts nothing
        logits = numpy.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (end - begin, vocabulary))[:scored]
        targets = tokens[begin + 1 : begin + 1 + scored]
        nll_sum += torch.nn.functional.cross_entropy(torch.from_numpy(logits), targets, reduction="sum").item()
    print_measurement(nll_sum, length - 1, time.perf_counter() - start)
