"""Writes the logits that the running version of transformers computes: transformers_logits.py MODEL TOKENS OUT.

TOKENS: a safetensors file with "tokens" (int64 [T]); OUT: "logits", float32 [T, vocabulary].
"""

import sys
import warnings

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

warnings.simplefilter("error")  # an export that loads with a complaint is not right
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], torch_dtype=torch.float32, attn_implementation="sdpa")
tokens = load_file(sys.argv[2])["tokens"]
with torch.inference_mode():
    logits = model(tokens[None]).logits[0]
save_file({"logits": logits.contiguous()}, sys.argv[3])
