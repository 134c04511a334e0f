"""A small byte-level BPE tokenizer, as Hugging Face models have."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from preparation import LONG


@pytest.fixture(scope="session")
def trained_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator([LONG], trainer)
    return tokenizer


@pytest.fixture
def tokenizer_directory(tmp_path, trained_tokenizer):
    directory = tmp_path / "tokenizer"
    directory.mkdir()
    trained_tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text('{"bos_token": "<s>"}')
    return directory
