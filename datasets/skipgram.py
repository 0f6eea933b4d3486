"""Word vectors by skip-gram with negative sampling, trained on one core, the same at every run.

Mikolov et al., "Distributed representations of words and phrases and their compositionality"
(2013), with the noise words of a position shared by its contexts (Ji et al., "Parallelizing
Word2Vec in shared and distributed memory", 2016), which keeps their vectors in the fastest cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

NOISE_POWER = 0.75  # of the frequencies that noise words are drawn by
NOISE_TABLE = 1 << 20
STEPS = 1 << 10  # of the table of the logistic function
RANGE = np.float32(6.0)  # outside of which a step is 0 or 1
CHUNK = 2_000  # documents a call of the kernel

Floats = NDArray[np.float32]
Report = Callable[[int, int], None]


def train(
    words: NDArray[np.int32],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    *,
    dimensions: int,
    epochs: int,
    window: int = 5,
    negatives: int = 5,
    subsample: float = 1e-4,
    rate: float = 0.025,
    seed: int = 0,
    report: Report | None = None,
) -> Floats:
    """Vectors float32[v, dimensions] of v words.

    words: int32[n] numbers below v, document by document; starts: int64[m + 1] of the documents.
    counts: int64[v], how often each word occurs. window: words to either side, at most; a nearer
    one is more often used. subsample: frequency from which on occurrences are left out (the
    paper's t). rate: of learning at first, falling to nothing. report: called with documents done
    and in all.
    """
    random = np.random.default_rng(seed)
    size = len(counts)
    inputs = random.random((size, dimensions), np.float32) - np.float32(0.5)
    inputs /= np.float32(dimensions)
    outputs = np.zeros((size, dimensions), np.float32)
    keep, noise, logistic = _keeping(counts, subsample), _noise(counts), _logistic()
    state = np.array([random.integers(1, 2**63)], np.uint64)
    longest = int(np.diff(starts).max(initial=1))
    kept, step = np.empty(longest, np.int32), np.empty(dimensions, np.float32)
    documents = len(starts) - 1
    total = documents * epochs
    for done in range(0, total, CHUNK):
        left = np.float32(rate * max(1e-4, 1.0 - done / total))
        rows = np.arange(done, min(done + CHUNK, total)) % documents
        _pass(
            words, starts, rows, keep, noise, logistic, window, negatives, left,
            state, kept, step, inputs, outputs,
        )  # fmt: skip
        if report is not None:
            report(min(done + CHUNK, total), total)
    return inputs


def _keeping(counts: NDArray[np.int64], subsample: float) -> Floats:
    """The chance of an occurrence to be used: sqrt(t / f) + t / f, as in the authors' code."""
    share = subsample * max(1, int(counts.sum())) / np.maximum(counts, 1)
    return np.minimum(1.0, np.sqrt(share) + share).astype(np.float32)


def _noise(counts: NDArray[np.int64]) -> NDArray[np.int32]:
    """int32[NOISE_TABLE] of words, each as often as it is to be drawn."""
    weights = np.cumsum(counts.astype(np.float64) ** NOISE_POWER)
    places = (np.arange(NOISE_TABLE) + 0.5) / NOISE_TABLE * weights[-1]
    return np.asarray(np.searchsorted(weights, places), np.int32)


def _logistic() -> Floats:
    x = (np.arange(STEPS) + 0.5) / STEPS * 2 * RANGE - RANGE
    return (1.0 / (1.0 + np.exp(-x))).astype(np.float32)


def _kernel(function: Callable[..., Any]) -> Any:
    # Sums may be taken in any order, so that they run in vector registers.
    return numba.njit(fastmath={"reassoc", "contract", "nsz"}, nogil=True)(function)


@_kernel
def _draw(state: NDArray[np.uint64]) -> Any:
    """The next number of xorshift64* (Vigna 2016), 32 bits of it."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return (x * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(32)


@_kernel
def _pass(
    words: NDArray[np.int32],
    starts: NDArray[np.int64],
    rows: NDArray[np.int64],
    keep: Floats,
    noise: NDArray[np.int32],
    logistic: Floats,
    window: int,
    negatives: int,
    rate: float,
    state: NDArray[np.uint64],
    kept: NDArray[np.int32],
    step: Floats,
    inputs: Floats,
    outputs: Floats,
) -> None:
    """One pass over some documents; changes inputs, outputs and the state of the generator."""
    targets = np.empty(negatives + 1, np.int32)
    for row in rows:
        length = 0
        for at in range(starts[row], starts[row + 1]):
            word = words[at]
            if _draw(state) < keep[word] * np.float64(4294967296.0):
                kept[length] = word
                length += 1
        for centre in range(length):
            targets[0] = kept[centre]
            for j in range(negatives):
                targets[j + 1] = noise[_draw(state) & np.uint64(NOISE_TABLE - 1)]
            reach: Any = window - np.int64(_draw(state) % np.uint64(window))
            first, last = max(0, centre - reach), min(length - 1, centre + reach)
            for place in range(first, last + 1):
                if place != centre:
                    _learn(inputs[kept[place]], targets, outputs, logistic, rate, step)


@_kernel
def _learn(
    word: Floats,
    targets: NDArray[np.int32],
    outputs: Floats,
    logistic: Floats,
    rate: float,
    step: Floats,
) -> None:
    """One step of a word's vector towards targets[0] and away from the other targets."""
    scale = np.float32(STEPS / (2 * RANGE))
    step[:] = np.float32(0.0)
    for j, target in enumerate(targets):
        if j > 0 and target == targets[0]:
            continue
        product = np.float32(0.0)
        for i in range(len(word)):
            product += word[i] * outputs[target, i]
        if product >= RANGE:
            chance = np.float32(1.0)
        elif product <= -RANGE:
            chance = np.float32(0.0)
        else:
            chance = logistic[int((product + RANGE) * scale)]
        gain = ((np.float32(1.0) if j == 0 else np.float32(0.0)) - chance) * rate
        for i in range(len(word)):
            step[i] += gain * outputs[target, i]
            outputs[target, i] += gain * word[i]
    for i in range(len(word)):
        word[i] += step[i]
