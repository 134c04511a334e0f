"""LongPPL masks (arXiv 2410.23771): the tokens that an evaluator predicts much better from the whole text than from its
last K tokens, and predicts well.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from document_preparation.documents_file import Document
from document_preparation.input_error import InputError
from document_preparation.tokenization import ByteTokens, Encoded, HuggingFaceTokens

LOGIT_ROWS = 1024  # rows of logits computed at a time; all rows of a document would fill the memory


@dataclass(frozen=True)
class LongPplOptions:
    evaluator: Path
    alpha: float  # nats that the whole text must gain
    beta: float  # least log-probability given the whole text, nats
    window: int  # K, tokens
    stride: int  # tokens scored at once given at least the last K
    device: str


def evaluator_tokens(directory: Path):
    """The evaluator's tokenizer; one without a tokenizer file reads bytes."""
    return HuggingFaceTokens(directory) if (directory / "tokenizer.json").exists() else ByteTokens()


class Evaluator:
    """A causal language model of `transformers`."""

    def __init__(self, options: LongPplOptions):
        try:
            import torch
            from transformers import AutoModelForCausalLM
        except ImportError as error:
            raise InputError(f"a LongPPL mask needs `torch` and `transformers`: {error} (--evaluator)") from error
        self._torch = torch
        self._options = options
        # In bfloat16 most CPUs are slow, and losses are off by hundredths of a nat.
        dtype = torch.float32 if options.device == "cpu" else "auto"
        try:
            model = AutoModelForCausalLM.from_pretrained(options.evaluator, dtype=dtype, local_files_only=True)
        except (OSError, ValueError) as error:
            raise InputError(f"an evaluator must be a checkpoint that transformers loads: {error} "
                             f"({options.evaluator})") from error
        # The head is applied here, in parts, and must be a plain product.
        for setting in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
            if getattr(model.config, setting, None) not in (None, 1, 1.0):
                raise InputError(f"an evaluator must have plain logits: {setting} is {getattr(model.config, setting)} "
                                 f"({options.evaluator})")
        self._model = model.to(options.device).eval()

    def losses(self, ids: list[int], first: int) -> np.ndarray:
        """Loss in nats of each of ids[first:], float64, each given all ids before it; first >= 1."""
        torch = self._torch
        with torch.inference_mode():
            tokens = torch.tensor(ids, device=self._options.device)
            hidden = self._model.base_model(tokens[None], use_cache=False).last_hidden_state[0]
            head = self._model.get_output_embeddings()
            parts = []
            for begin in range(first - 1, len(ids) - 1, LOGIT_ROWS):
                end = min(begin + LOGIT_ROWS, len(ids) - 1)
                logits = head(hidden[begin:end]).float()
                parts.append(torch.nn.functional.cross_entropy(logits, tokens[begin + 1 : end + 1], reduction="none"))
            return torch.cat(parts).double().cpu().numpy()

    def key_tokens(self, ids: list[int], name: str) -> np.ndarray:
        """bool [ids]: key tokens, all at K or later."""
        options = self._options
        positions = getattr(self._model.config, "max_position_embeddings", None)
        if positions is not None and len(ids) > positions:
            raise InputError(f"an evaluator must read the whole document: {len(ids)} tokens for {positions} positions "
                             f"(document {name}, {options.evaluator})")
        vocabulary = self._model.get_output_embeddings().weight.shape[0]
        if max(ids) >= vocabulary:
            raise InputError(f"tokens must be below the evaluator's vocabulary of {vocabulary}: {max(ids)} "
                             f"(document {name}, {options.evaluator})")
        key = np.zeros(len(ids), dtype=bool)
        if len(ids) <= options.window:
            return key
        full = self.losses(ids, options.window)
        short = np.concatenate([self.losses(ids[begin : begin + options.window + options.stride], options.window)
                                for begin in range(0, len(ids) - options.window, options.stride)])
        key[options.window :] = key_tokens(full, short, options.alpha, options.beta)
        return key


def key_tokens(full: np.ndarray, short: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """Which tokens are key: `full` and `short` are their losses in nats given the whole text and given its last part."""
    return (short - full > alpha) & (-full > beta)


def mask_by_spans(key: np.ndarray, key_spans: list[tuple[int, int]], spans: list[tuple[int, int]],
                  text: str) -> np.ndarray:
    """bool [spans]: which tokens lie inside the characters of key tokens of another tokenizer, adjacent ones merged.

    Tokenizers differ in whether a token has the white space before it: where it has other characters, they decide.
    """
    key_characters = np.zeros(len(text), dtype=bool)
    for (first, last), is_key in zip(key_spans, key):
        if is_key:
            key_characters[first:last] = True
    mask = np.zeros(len(spans), dtype=bool)
    for index, (first, last) in enumerate(spans):
        places = [place for place in range(first, last) if not text[place].isspace()] or list(range(first, last))
        mask[index] = bool(places) and bool(key_characters[places].all())
    return mask


class LongPplMasks:
    """Masks documents by one evaluator."""

    def __init__(self, options: LongPplOptions, digest: str):
        if options.window < 1:
            raise InputError(f"window must be at least 1 token: {options.window} (--window)")
        if options.stride < 1:
            raise InputError(f"stride must be at least 1 token: {options.stride} (--stride)")
        self._tokens = evaluator_tokens(options.evaluator)
        self._shared = self._tokens.digest == digest
        without_bos = self._shared or self._tokens.bos is None or self._tokens.bos_ruled_out
        self._bos = [] if without_bos else [self._tokens.bos]
        self._evaluator = Evaluator(options)

    def describe(self) -> str:
        if self._shared:
            return "evaluator and documents share the tokenizer: masks are by token"
        bos = f"BOS {self._bos[0]}" if self._bos else "no BOS"
        return f"the evaluator has another tokenizer: masks are by characters; it reads {bos} before each text"

    def masked(self, document: Document, encoded: Encoded, text: str) -> Document | None:
        """The document with its mask, None where no token is key. `encoded`: its tokens after BOS, with their places in
    `text`."""
        ids = document.tokens.tolist()
        if self._shared:
            mask = self._evaluator.key_tokens(ids, document.name)
        else:
            read = text[: encoded.spans[-1][1]]
            other = self._tokens.encode(read)
            key = self._evaluator.key_tokens(self._bos + other.ids, document.name)[len(self._bos) :]
            mask = np.zeros(len(ids), dtype=bool)
            mask[len(ids) - len(encoded.ids) :] = mask_by_spans(key, other.spans, encoded.spans, read)
        mask[0] = False  # the first token is never scored
        if not mask.any():
            return None
        return Document(document.name, document.tokens, mask.astype(np.uint8))
