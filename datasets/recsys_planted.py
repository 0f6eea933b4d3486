"""Clicks with planted causes: made from a seed, so that what a model finds can be judged.

Every generator returns a table of columns, labels, and what was planted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Planted(NamedTuple):
    """Columns, what came of each row (0 or 1), and the chance that it had."""

    table: pa.Table
    labels: NDArray[np.float32]
    chances: Floats


def interactions(
    rows: int, *, fields: int = 6, values: int = 12, strength: float = 1.5, seed: int = 0
) -> Planted:
    """Fields `f0` .. of evenly drawn categories, alone of no effect.

    Planted: f0 x f1 of second order, f2 x f3 x f4 of third. Every value has a hidden sign; the
    product of two (or three) signs moves the logit by `strength` up or down. The signs of f0 and f1
    are balanced, so that each by itself tells nothing; those of the three are + for two values of
    three, so that each tells a little. The other fields are noise.
    """
    random = np.random.default_rng(seed)
    drawn = random.integers(0, values, (rows, fields))
    signs = np.ones((fields, values))
    for field in range(fields):
        minus = values // 2 if field < 2 else values // 3
        signs[field, random.choice(values, minus, replace=False)] = -1
    at = signs[np.arange(fields), drawn]
    logits = strength * (at[:, 0] * at[:, 1] + at[:, 2] * at[:, 3] * at[:, 4])
    return _labelled({f"f{n}": drawn[:, n] for n in range(fields)}, logits, random)


def pairs(rows: int, *, values: int = 10, strength: float = 2.0, seed: int = 0) -> Planted:
    """Four fields `a` .. `d` whose pairs are of different kinds.

    Planted: a x b has an effect of its own for every pair of values, which only a memory of pairs
    can tell; c x d the product of a hidden number of each value, which factors tell; all other
    pairs have none.
    """
    random = np.random.default_rng(seed)
    drawn = random.integers(0, values, (rows, 4))
    anything = random.permutation(np.arange(values * values) % 2 * 2.0 - 1).reshape(values, values)
    first, second = random.normal(size=(2, values))
    first, second = first - first.mean(), second - second.mean()
    low = np.outer(first, second)
    logits = strength * anything[drawn[:, 0], drawn[:, 1]]
    logits = logits + strength * low[drawn[:, 2], drawn[:, 3]] / low.std()
    return _labelled({name: drawn[:, n] for n, name in enumerate("abcd")}, logits, random)


def neighbours(
    rows: int, *, fields: int = 8, values: int = 6, strength: float = 3.0, seed: int = 0
) -> Planted:
    """Fields `f0` .. in which a pattern of three neighbours decides, wherever it stands.

    Planted: the count of places where the signs of three fields side by side are +, -, + raises the
    logit. All fields have the same values with the same signs, as a convolution supposes.
    """
    random = np.random.default_rng(seed)
    drawn = random.integers(0, values, (rows, fields))
    sign = (np.arange(values) % 2 * 2 - 1)[drawn]
    found = (sign[:, :-2] > 0) & (sign[:, 1:-1] < 0) & (sign[:, 2:] > 0)
    logits = strength * (found.sum(axis=1) - found.sum(axis=1).mean())
    return _labelled({f"f{n}": drawn[:, n] for n in range(fields)}, logits, random)


class History(NamedTuple):
    """Clicks of users with a history.

    `table` has `item`, `kind`, `item_history` and `kind_history` (lists, oldest first), and `user`.
    kinds: int64[items], the kind of every item.
    """

    table: pa.Table
    labels: NDArray[np.float32]
    chances: Floats
    kinds: Ints


def histories(
    rows: int, *, items: int = 60, kinds: int = 12, length: int = 15, strength: float = 2.0,
    seed: int = 0,
) -> History:  # fmt: skip
    """Candidates that are liked where the history holds an item of their kind.

    Planted: one or two items of the candidate's kind, anywhere in the history of every other row,
    raise the logit by twice `strength`; the items of other kinds around them do not matter.
    """
    random = np.random.default_rng(seed)
    kind = np.arange(items) % kinds
    candidate = random.integers(0, items, rows)
    lengths = random.integers(5, length + 1, rows)
    starts = np.concatenate(([0], np.cumsum(lengths)))
    owner = np.repeat(np.arange(rows), lengths)
    wanted = kind[candidate][owner]
    drawn = (wanted + random.integers(1, kinds, starts[-1])) % kinds
    matters = random.random(rows) < 0.5
    for _ in range(2):
        place = starts[:-1] + random.integers(0, lengths)
        drawn[place[matters]] = kind[candidate][matters]
    held = drawn + kinds * random.integers(0, items // kinds, starts[-1])
    table = {
        "user": pa.array(np.arange(rows) // 4),
        "item": pa.array(candidate),
        "kind": pa.array(kind[candidate]),
        "item_history": pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array(held)),
        "kind_history": pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array(drawn)),
    }
    made = _labelled({}, strength * np.where(matters, 1.0, -1.0), random)
    return History(pa.table(table), made.labels, made.chances, kind)


def _labelled(columns: dict[str, Ints], logits: Floats, random: np.random.Generator) -> Planted:
    chances = 1 / (1 + np.exp(-logits))
    labels = (random.random(len(logits)) < chances).astype(np.float32)
    return Planted(pa.table({n: pa.array(c) for n, c in columns.items()}), labels, chances)
