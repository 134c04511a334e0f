"""Differences of ln perplexity between factor sets that were scored on the same documents, with bootstrap intervals."""

import math

import numpy as np

RESAMPLES = 10_000
SEED = 19
CONFIDENCE = 0.95


def log_perplexity(nll, tokens):
    """ln perplexity over documents: nats by tokens. `nll` and `tokens`: one number for each document."""
    return math.fsum(nll) / math.fsum(tokens)


def mean_nll(scores):
    """NLL per document, averaged over factor sets: [sets][documents] to [documents]."""
    return np.mean(np.asarray(scores, dtype=np.float64), axis=0)


def paired_interval(nll, reference_nll, tokens, resamples=RESAMPLES, seed=SEED):
    """(difference of ln perplexity, lower end, upper end): documents are drawn with replacement, each with the NLL
    under both factor sets and its tokens, and the percentiles of the differences are the interval. The same seed draws
    the same documents for every pair of sets."""
    if not len(nll) == len(reference_nll) == len(tokens) > 0:
        raise ValueError(f"each document must have an NLL under both sets and its tokens: {len(nll)}, "
                         f"{len(reference_nll)} and {len(tokens)}")
    differences = np.asarray(nll, dtype=np.float64) - np.asarray(reference_nll, dtype=np.float64)
    weights = np.asarray(tokens, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(differences), size=(resamples, len(differences)))
    means = differences[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(differences.sum() / weights.sum()), float(low), float(high)
