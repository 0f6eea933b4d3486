"""Simulated interactions with a known structure, and features that tell of it.

Users and items belong to groups; most of what a user takes is of their own group, popular items
more often than others. The same seed gives the same data.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from fanns.errors import InputError

from .recsys_interactions import from_pairs
from .recsys_readers import Source

FAITHFUL = 0.8  # share of a user's draws that are of the own group
WORDS = ("quiet", "bright", "old", "red", "wild", "slow", "deep", "small", "cold", "long")
THINGS = ("garden", "engine", "river", "letter", "island", "clock", "winter", "harbour")


def make(
    users: int = 600, items: int = 400, *, groups: int = 8, each: int = 20, seed: int = 0
) -> Source:
    """Interactions, and features of users (id, country) and items (id, title, genre, year).

    each: draws of a user on average; like ones count once. Titles and genres tell the group.
    Raises InputError for counts that leave a group without users or items.
    """
    if not 0 < groups <= min(users, items) or each < 1:
        raise InputError(
            f"{groups} groups of {users} users and {items} items, {each} draws each: expected "
            "whole numbers above 0, and no more groups than users or items"
        )
    random = np.random.default_rng(seed)
    user_group, item_group = np.arange(users) % groups, np.arange(items) % groups
    popularity = 1.0 / (1.0 + np.arange(items) // groups)
    drawn = []
    for user in range(users):
        weights = popularity * np.where(item_group == user_group[user], FAITHFUL, 0.0)
        weights /= weights.sum() / FAITHFUL
        weights += (1 - FAITHFUL) * popularity / popularity.sum()
        count = max(3, int(random.poisson(each)))
        drawn.append(random.choice(items, count, p=weights / weights.sum()))
    owner = np.repeat(np.arange(users), [len(one) for one in drawn])
    taken = np.concatenate(drawn)
    interactions = from_pairs(
        owner,
        taken,
        user_ids=pa.array(np.arange(users, dtype=np.int64)),
        item_ids=pa.array(np.arange(items, dtype=np.int64)),
        times=1_600_000_000 + random.permutation(len(taken)) * 60,
    )
    genres = [THINGS[group % len(THINGS)] for group in item_group]
    adjectives = random.choice(WORDS, items)
    return Source(
        interactions,
        users=pa.table(
            {"id": interactions.user_ids, "country": random.choice(["FR", "IN", "BR"], users)}
        ),
        items=pa.table(
            {
                "id": interactions.item_ids,
                "title": [f"The {a} {g} {g}s" for a, g in zip(adjectives, genres, strict=True)],
                "genre": genres,
                "year": pa.array(random.integers(1980, 2025, items), pa.int32()),
            }
        ),
        told=f"simulated: {users} users, {items} items, {groups} groups, seed {seed}",
    )
