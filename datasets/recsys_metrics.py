"""How good recommendations are: every figure with its definition.

Of a user with test items T, T not empty, ranked over all items but those seen in training:

    recall@k     hits among the first k / |T|, not / min(k, |T|)
    ndcg@k       sum over hits of 1 / log2(rank + 1), divided by that of min(k, |T|) hits in front
                 (the ideal ranking of T, not the hits sorted, as NGCF's first code had it)
    hit@k        1 with any hit among the first k
    precision@k  hits among the first k / k
    mrr@k        1 / rank of the first hit among the first k

each averaged over users with test items. Under a filter both T and the candidates are what passes;
users with nothing left to find are skipped, and counted. `index_recall` is another thing: how much
of the exact answer an index gives, whatever that answer is worth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError

from .recsys_interactions import Interactions
from .recsys_topk import NOBODY, best

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
# From user rows int64[b] to their scores of all items, float32[b, n_items].
Scores = Callable[[Ints], Floats]
# From user rows int64[b] to items int64[b, k], best first, NOBODY where there are fewer.
Ranker = Callable[[Ints], Ints]
KS = (10, 20)
BLOCK = 1024  # users at a time


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        values: figures by names such as "recall@20", means over `users`.
        users: users with something to find. skipped: users with test items none of which passes.
        selectivity: share of the items that the filter passes, 1 without one.
        each: the same figures user by user, float64[users], in the order of user rows.
    """

    values: dict[str, float]
    users: int
    skipped: int
    selectivity: float
    each: dict[str, Doubles]

    def __getitem__(self, name: str) -> float:
        return self.values[name]


def inner_products(users: NDArray[Any], items: NDArray[Any]) -> Scores:
    """Scores of vectors under the inner product: users [n_users, d], items [n_items, d]."""
    left, right = np.asarray(users, np.float32), np.asarray(items, np.float32).T
    return lambda rows: left[rows] @ right


def evaluate(
    scores: Scores,
    test: Interactions,
    *,
    seen: Interactions | None,
    ks: tuple[int, ...] = KS,
    allowed: NDArray[np.bool_] | None = None,
    block: int = BLOCK,
) -> Measured:
    """Figures of dense scores, block by block.

    seen: interactions to leave out of the answers, those of training; None leaves nothing out.
    allowed: bool[n_items], the items that a filter passes, for all users.
    """

    def ranked(users: Ints) -> Ints:
        return best(scores(users), users, max(ks), seen=seen, allowed=allowed)[0]

    return judge(ranked, test, ks=ks, allowed=allowed, block=block)


def judge(
    ranked: Ranker,
    test: Interactions,
    *,
    ks: tuple[int, ...] = KS,
    allowed: NDArray[np.bool_] | None = None,
    block: int = BLOCK,
) -> Measured:
    """Figures of rankings, such as an index gives: the same definitions as `evaluate`.

    What is ranked is believed: the caller leaves out what was seen and what the filter refuses.
    Raises InputError where nobody has a test item.
    """
    wanted = test if allowed is None else test.select(allowed[test.indices])
    users = np.flatnonzero(wanted.user_counts)
    anybody = np.count_nonzero(test.user_counts)
    if not anybody:
        raise InputError("no user has a test item: there is nothing to measure")
    if not ks or min(ks) < 1:
        raise InputError(f"ks are {ks}, expected whole numbers above 0")
    parts = []
    for first in range(0, len(users), block):
        rows = users[first : first + block]
        parts.append(_figures(ranked(rows), rows, wanted, ks))
    each = {
        name: np.concatenate([part[name] for part in parts]) if parts else np.empty(0)
        for name in _names(ks)
    }
    return Measured(
        {name: float(values.mean()) if len(values) else 0.0 for name, values in each.items()},
        len(users),
        int(anybody) - len(users),
        1.0 if allowed is None else float(allowed.mean()),
        each,
    )


def index_recall(found: Ints, exact: Ints) -> float:
    """Share of the exact items int64[b, k] that an index found, NOBODY places not counted.

    The quality of an index, never of recommendations.
    """
    if len(found) != len(exact):
        raise InputError(f"found has {len(found)} rows, exact has {len(exact)}")
    inside = (exact[:, :, None] == found[:, None, :]).any(axis=2) & (exact != NOBODY)
    total = np.count_nonzero(exact != NOBODY)
    return 1.0 if total == 0 else float(np.count_nonzero(inside) / total)


def _names(ks: tuple[int, ...]) -> list[str]:
    return [f"{name}@{k}" for k in ks for name in ("recall", "ndcg", "hit", "precision", "mrr")]


def _figures(
    ranked: Ints, users: Ints, wanted: Interactions, ks: tuple[int, ...]
) -> dict[str, Doubles]:
    """The figures of each user, float64[b] by name."""
    counts = wanted.user_counts[users]
    hits = wanted.contains(users[:, None], np.maximum(ranked, 0)) & (ranked != NOBODY)
    discounts = 1.0 / np.log2(np.arange(2, max(ks) + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    figures: dict[str, Doubles] = {}
    for k in ks:
        first = hits[:, :k]
        total = first.sum(axis=1)
        place = first.argmax(axis=1)
        figures[f"recall@{k}"] = total / counts
        figures[f"ndcg@{k}"] = (first @ discounts[: first.shape[1]]) / ideal[np.minimum(counts, k)]
        figures[f"hit@{k}"] = (total > 0).astype(np.float64)
        figures[f"precision@{k}"] = total / k
        figures[f"mrr@{k}"] = np.where(total > 0, 1.0 / (place + 1), 0.0)
    return figures
