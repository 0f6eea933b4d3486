"""Shortlists of many users: what rerankers learn from, and what they are judged by.

    search = lambda vectors, left_out: [...]     # an index's answers, a table for each user
    made = gather(columns, items, users, search, label="valid", left_out=("seen",))
    train("lightgbm", columns, made.examples)

Learn from interactions that the producer of the vectors never saw: `valid`, with what training saw
left out. Judge by `test`, with both left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.errors import InputError

from .recsys_frame import LEFT_OUT, FrameColumns
from .recsys_interactions import Interactions, from_pairs
from .recsys_metrics import Measured, judge
from .recsys_rerank import Examples, Model
from .recsys_topk import NOBODY

# Vectors float32[b, d] and the ids to leave out for each; for each user the candidates, best first:
# id, score and columns.
Search = Callable[[NDArray[np.float32], list[pa.Array]], Sequence[pa.Table]]
BLOCK = 256
"""Users of one call of a search."""


@dataclass(frozen=True)
class Shortlists:
    """The candidates of some users, features made.

    `users` int64[g]: rows of the users' table; `items` int64[n]: rows of the items' table, of all
    candidates one user after the other.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    examples: Examples

    def ranked(self, most: int, scores: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
        """The items of each user, int64[g, most], by scores float64[n] or as they came."""
        out = np.full((len(self.users), most), NOBODY, np.int64)
        starts = np.concatenate([[0], np.cumsum(self.examples.sizes)]).astype(np.int64)
        for user, (first, last) in enumerate(pairwise(starts)):
            items = self.items[first:last]
            if scores is not None:
                items = items[np.argsort(-scores[first:last], kind="stable")]
            out[user, : min(most, len(items))] = items[:most]
        return out


def gather(
    columns: FrameColumns,
    items: pa.Table,
    users: pa.Table,
    search: Search,
    *,
    label: str,
    left_out: Sequence[str],
) -> Shortlists:
    """Shortlists of every user who has something in the list `label`.

    Args:
        items: id and the columns that features are made of. users: id, embedding, `seen` and the
            lists that are named.
        left_out: lists of ids that a user's candidates must not hold.

    Raises:
        InputError: a list is missing; nobody has anything in `label`.
    """
    for name in ("embedding", "seen", label, *left_out):
        if name not in users.column_names:
            raise InputError(f"the users lack the column {name!r}")
    chosen = np.flatnonzero(pc.list_value_length(users[label]).fill_null(0).to_numpy() > 0)
    if not len(chosen):
        raise InputError(f"nobody has anything in the list {label!r}")
    features, rows, labels, sizes = [], [], [], []
    for first in range(0, len(chosen), BLOCK):
        block = users.take(pa.array(chosen[first : first + BLOCK]))
        vectors = _vectors(block)
        lists = {name: _lists(block[name]) for name in {"seen", label, *left_out}}
        others = [
            pa.concat_arrays([lists[name][i] for name in left_out]) for i in range(len(block))
        ]
        told = block.drop_columns([n for n in LEFT_OUT if n in block.column_names]).to_pylist()
        for i, found in enumerate(search(vectors, others)):
            places = rows_of(items, lists["seen"][i])
            features.append(columns.table(found, items.take(pa.array(places)), told[i]))
            rows.append(rows_of(items, found["id"]))
            taken = pc.is_in(found["id"], lists[label][i].cast(found["id"].type))
            labels.append(taken.to_numpy(zero_copy_only=False).astype(np.float32))
            sizes.append(found.num_rows)
    examples = Examples(np.concatenate(features), np.concatenate(labels), np.array(sizes, np.int64))
    return Shortlists(chosen, np.concatenate(rows), examples)


def measure(
    made: Shortlists,
    items: pa.Table,
    users: pa.Table,
    label: str,
    model: Model | None = None,
    *,
    ks: tuple[int, ...] = (10,),
) -> Measured:
    """Figures of shortlists as they came, or as a model orders them, by the list `label`."""
    scores = None if model is None else model.predict(made.examples.features)
    ranked = made.ranked(max(ks), scores)
    place = np.full(users.num_rows, -1, np.int64)
    place[made.users] = np.arange(len(made.users))
    return judge(lambda rows: ranked[place[rows]], taken(items, users, label), ks=ks)


def taken(items: pa.Table, users: pa.Table, label: str) -> Interactions:
    """The interactions of a list of ids; those with unknown items are left out."""
    lists = users[label].combine_chunks()
    owners = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
    rows = rows_of(items, pc.list_flatten(lists), missing=-1)
    known = rows >= 0
    ids: Any = (users["id"].combine_chunks(), items["id"].combine_chunks())
    return from_pairs(owners[known], rows[known], user_ids=ids[0], item_ids=ids[1])


def rows_of(items: pa.Table, ids: Any, missing: int | None = None) -> NDArray[np.int64]:
    """Rows of ids in a table, int64[m]; those that it lacks are left out, or `missing`."""
    held = items["id"]
    places = pc.index_in(ids.cast(held.type), held.combine_chunks())
    if isinstance(places, pa.ChunkedArray):
        places = places.combine_chunks()
    places = places.drop_null() if missing is None else places.fill_null(missing)
    return np.asarray(places.to_numpy(zero_copy_only=False), np.int64)


def _vectors(users: pa.Table) -> NDArray[np.float32]:
    column = users["embedding"].combine_chunks()
    flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float32)
    return np.ascontiguousarray(flat.reshape(len(users), -1))


def _lists(column: Any) -> list[pa.Array]:
    """The ids of each user."""
    lists = column.combine_chunks()
    empty = pa.array([], lists.type.value_type)
    return [lists[i].values if lists[i].is_valid else empty for i in range(len(lists))]
