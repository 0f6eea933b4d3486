"""Random pairs to learn rankings from: a user, an item of theirs, and one that is not.

Three ways to draw users, which give different results and therefore have names:

    "user"         a uniform user, then an item of theirs (LightGCN's official code)
    "interaction"  every interaction once, in random order (BARS)
    "batch"        users of a batch without replacement, then an item of theirs (NGCF's code)

Negatives are uniform among the items that the user did not touch in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError

from .recsys_interactions import Interactions

Ints = NDArray[np.int64]
WAYS = ("user", "interaction", "batch")


class Triples(NamedTuple):
    """users int64[n], positives int64[n], negatives int64[n] or [n, m]."""

    users: Ints
    positives: Ints
    negatives: Ints


def negatives(data: Interactions, users: Ints, random: np.random.Generator, each: int = 1) -> Ints:
    """int64[n, each], for every user uniform items that `data` does not hold with them.

    Raises InputError for a user who touched all items.
    """
    full = data.user_counts[users] >= data.n_items
    if full.any():
        raise InputError(
            f"user {data.user_ids[int(users[full.argmax()])]} interacted with every item: "
            "there is no negative to draw"
        )
    drawn = random.integers(0, data.n_items, (len(users), each))
    owner = np.repeat(users, each)
    flat = drawn.reshape(-1)
    again = np.flatnonzero(data.contains(owner, flat))
    while len(again):
        flat[again] = random.integers(0, data.n_items, len(again))
        again = again[data.contains(owner[again], flat[again])]
    return drawn


def epoch(
    data: Interactions, batch: int, random: np.random.Generator, *, way: str = "user", each: int = 1
) -> Iterator[Triples]:
    """The batches of one epoch, about as many triples as there are interactions.

    each: negatives of a positive; with one, `negatives` is flat. Users without an item, or with
    all of them, are never drawn. Raises InputError for an unknown way, or if nobody is left.
    """
    if way not in WAYS:
        raise InputError(f"unknown way to draw {way!r}; expected one of {', '.join(WAYS)}")
    counts = data.user_counts
    able = np.flatnonzero((counts > 0) & (counts < data.n_items))
    if not len(able):
        raise InputError("no user has both an item and one that is not theirs: nothing to learn")
    if way == "interaction":
        places = _shuffled(data, random)
        size = len(places)
    else:
        size = len(data)
    for first in range(0, size, batch):
        count = min(batch, size - first)
        if way == "interaction":
            place = places[first : first + count]
            users = data.users[place]
        else:
            users = _users(able, batch if way == "batch" else count, way, random)
            place = data.indptr[users] + random.integers(0, counts[users])
        drawn = negatives(data, users, random, each)
        yield Triples(
            users, data.indices[place].astype(np.int64), drawn[:, 0] if each == 1 else drawn
        )


def _users(able: Ints, count: int, way: str, random: np.random.Generator) -> Ints:
    replace = way == "user" or count > len(able)
    return random.choice(able, count, replace=replace)


def _shuffled(data: Interactions, random: np.random.Generator) -> Ints:
    places = random.permutation(len(data))
    full = data.user_counts == data.n_items
    return places[~full[data.users[places]]] if full.any() else places
