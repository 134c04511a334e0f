"""Writes the logits that the running version of transformers computes: transformers_logits.py MODEL TOKENS OUT [JSON].

TOKENS: a safetensors file with "tokens" (int64 [T]); OUT: "logits", float32 [T, vocabulary]. JSON: attributes that are set
in the model's configuration, in this order.
"""

import json
import sys
import warnings

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

warnings.simplefilter("error")  # an export that loads with a complaint is not right
config = AutoConfig.from_pretrained(sys.argv[1])
for key, value in json.loads(sys.argv[4] if len(sys.argv) > 4 else "{}").items():
    setattr(config, key, value)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], config=config, torch_dtype=torch.float32,
                                             attn_implementation="sdpa")
tokens = load_file(sys.argv[2])["tokens"]
with torch.inference_mode():
    logits = model(tokens[None]).logits[0]
save_file({"logits": logits.contiguous()}, sys.argv[3])
