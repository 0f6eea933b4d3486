"""Who interacted with what: sparse rows of items, one for each user.

    data = from_pairs(users, items, values=ratings, times=seconds)
    data.items_of(7)                    # the items of user 7, ascending
    data.contains(users, items)         # bool[n]

Users and items are rows from 0; `user_ids` and `item_ids` hold what they are called outside.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.errors import InputError

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Interactions:
    """Interactions of `n_users` users with `n_items` items, at most one of each pair.

    Attributes:
        indptr: int64[n_users + 1]; user u owns `indices[indptr[u]:indptr[u + 1]]`.
        indices: int32[n] item rows, ascending within a user.
        user_ids, item_ids: Arrow arrays, what row u or i is called outside.
        values: float32[n] or None, such as ratings. times: int64[n] or None, seconds.
    """

    indptr: Ints
    indices: NDArray[np.int32]
    user_ids: pa.Array
    item_ids: pa.Array
    values: NDArray[np.float32] | None = None
    times: Ints | None = None

    def __len__(self) -> int:
        """How many interactions there are."""
        return len(self.indices)

    @property
    def n_users(self) -> int:
        """Users, those without interactions included."""
        return len(self.indptr) - 1

    @property
    def n_items(self) -> int:
        """Items, those that nobody touched included."""
        return len(self.item_ids)

    @cached_property
    def users(self) -> Ints:
        """int64[n], the user of each interaction."""
        return np.repeat(np.arange(self.n_users, dtype=np.int64), np.diff(self.indptr))

    @cached_property
    def keys(self) -> Ints:
        """int64[n], user * n_items + item, ascending: what `contains` looks pairs up in."""
        return self.users * self.n_items + self.indices

    @cached_property
    def user_counts(self) -> Ints:
        """int64[n_users], interactions of each user."""
        return np.diff(self.indptr)

    @cached_property
    def item_counts(self) -> Ints:
        """int64[n_items], interactions with each item."""
        return np.bincount(self.indices, minlength=self.n_items)

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 of everything that is held, ids included, in hexadecimal."""
        digest = hashlib.sha256(b"%d %d" % (self.n_users, self.n_items))
        for part in (self.indptr, self.indices, self.values, self.times):
            digest.update(b"-" if part is None else np.ascontiguousarray(part).tobytes())
        for ids in (self.user_ids, self.item_ids):
            digest.update("\n".join(map(str, ids.to_pylist())).encode())
        return digest.hexdigest()

    def items_of(self, user: int) -> NDArray[np.int32]:
        """int32, the items of one user, ascending."""
        return self.indices[self.indptr[user] : self.indptr[user + 1]]

    def contains(self, users: NDArray[Any], items: NDArray[Any]) -> Mask:
        """bool, for each pair of user and item rows whether they interacted."""
        asked = np.asarray(users, np.int64) * self.n_items + items
        if not len(self):
            return np.zeros(asked.shape, np.bool_)
        place = np.searchsorted(self.keys, asked)
        return np.asarray(self.keys[np.minimum(place, len(self) - 1)] == asked)

    def select(self, keep: Mask) -> Interactions:
        """The interactions that a mask bool[n] keeps, among the same users and items."""
        indptr = np.concatenate([[0], np.cumsum(keep)])[self.indptr]
        return Interactions(
            indptr.astype(np.int64),
            self.indices[keep],
            self.user_ids,
            self.item_ids,
            None if self.values is None else self.values[keep],
            None if self.times is None else self.times[keep],
        )

    def matrix(self) -> Any:
        """scipy.sparse.csr_array float32[n_users, n_items] with a 1 at each interaction."""
        from scipy.sparse import csr_array

        ones = np.ones(len(self), np.float32)
        # scipy sorts and counts by one type of index for both arrays
        indices = self.indices.astype(np.int64)
        return csr_array((ones, indices, self.indptr), shape=(self.n_users, self.n_items))


def from_pairs(
    users: NDArray[Any],
    items: NDArray[Any],
    *,
    user_ids: pa.Array | None = None,
    item_ids: pa.Array | None = None,
    values: NDArray[Any] | None = None,
    times: NDArray[Any] | None = None,
) -> Interactions:
    """Interactions of pairs of rows, in any order; of a pair that comes twice the last is kept.

    users, items: whole numbers from 0, [n]. user_ids, item_ids: their names; by default the rows
    up to the largest. values, times: [n]; the last of two like pairs is that of the later time, or
    without times the one that stands further back.

    Raises InputError for arrays of unlike lengths, rows without a name, or values that are no
    numbers.
    """
    users, items = np.asarray(users, np.int64), np.asarray(items, np.int64)
    user_ids = _names(user_ids, users, "user")
    item_ids = _names(item_ids, items, "item")
    columns: dict[str, NDArray[Any] | None] = {"items": items, "values": values, "times": times}
    for name, column in columns.items():
        if column is not None and np.shape(column) != users.shape:
            raise InputError(f"{name} has shape {np.shape(column)}, users {users.shape}")
    if values is not None:
        values = np.asarray(values, np.float32)
        if not np.isfinite(values).all():
            place = int(np.flatnonzero(~np.isfinite(values))[0])
            raise InputError(f"values[{place}] is {values[place]}, expected a finite number")
    if times is not None:
        times = np.asarray(times, np.int64)
    order = np.lexsort((np.arange(len(users)) if times is None else times, items, users))
    keys = users[order] * len(item_ids) + items[order]
    order = order[np.append(keys[1:] != keys[:-1], True)[: len(keys)]]
    counts = np.bincount(users[order], minlength=len(user_ids))
    return Interactions(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        items[order].astype(np.int32),
        user_ids,
        item_ids,
        None if values is None else values[order],
        None if times is None else times[order],
    )


def by_ids(
    users: pa.Array,
    items: pa.Array,
    *,
    values: NDArray[Any] | None = None,
    times: NDArray[Any] | None = None,
    user_ids: pa.Array | None = None,
    item_ids: pa.Array | None = None,
) -> Interactions:
    """Interactions of pairs of ids, whole numbers or strings; rows are in the order of the ids.

    user_ids, item_ids: more ids to give rows to, such as those that only features know.
    """
    known_users, user_rows = _rows(users, user_ids, "user")
    known_items, item_rows = _rows(items, item_ids, "item")
    return from_pairs(
        user_rows,
        item_rows,
        user_ids=known_users,
        item_ids=known_items,
        values=values,
        times=times,
    )


def _names(ids: pa.Array | None, rows: Ints, kind: str) -> pa.Array:
    if rows.ndim != 1 or (len(rows) and rows.min() < 0):
        raise InputError(f"{kind}s must be a flat array of whole numbers from 0")
    needed = int(rows.max(initial=-1)) + 1
    if ids is None:
        return pa.array(np.arange(needed, dtype=np.int64))
    if needed > len(ids):
        raise InputError(f"{kind} row {needed - 1} has no id: there are {len(ids)}")
    return ids


def _rows(ids: pa.Array, more: pa.Array | None, kind: str) -> tuple[pa.Array, Ints]:
    """All distinct ids in order, and the row of each given one."""
    import pyarrow.compute as pc

    if ids.null_count:
        place = int(np.flatnonzero(np.asarray(ids.is_null()))[0])
        raise InputError(f"{kind} {place} is null: every interaction needs both ids")
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    pool = ids if more is None else pa.concat_arrays([ids, more.cast(ids.type)])
    known = pc.unique(pool)
    known = known.take(pc.sort_indices(known))
    return known, np.asarray(pc.index_in(ids, known), np.int64)
