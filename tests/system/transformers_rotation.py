"""Prints what the running version of transformers rotates models by: transformers_rotation.py MODELS.

MODELS: JSON, a list of [model directory, attributes that are set in its configuration]. Output: JSON, a list with
"inverse_frequencies" (one for each pair) and "attention_scaling" of each.
"""

import json
import sys
import warnings

import torch
from transformers import AutoConfig, AutoModelForCausalLM

warnings.simplefilter("error")  # an export that loads with a complaint is not right


def rotation(model, overrides):
    config = AutoConfig.from_pretrained(model)
    for key, value in overrides.items():
        setattr(config, key, value)
    with torch.device("meta"):  # without weights
        built = AutoModelForCausalLM.from_config(config)
    rotary = type(built.model.rotary_emb)(config=config)  # on the CPU
    return {"inverse_frequencies": rotary.inv_freq.tolist(), "attention_scaling": rotary.attention_scaling}


print(json.dumps([rotation(*model) for model in json.loads(sys.argv[1])]))
