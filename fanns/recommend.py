"""From a user to what they have not seen yet, under a filter, in the order of a reranker.

    users = Users.open("out/users.parquet")
    found = recommend(index, users, 42, k=10, where="year >= 2000", reranker=reranker)
    found.table                          # id, score, columns; best first

The index is one of the items that stand beside the users' file (`fanns dataset recsys fit`), both
by one model: a user's vector asks, and the items of their `seen` list are one more condition of
the filter, so that exactly min(k, what is left) items come back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanns import Index, ids
from fanns.errors import InputError, UnknownIdError
from fanns.filters import default_nulls

SHORTLIST = 100
NOT_TOLD = ("embedding", "seen", "valid", "test")


class Columns(Protocol):
    """Which columns of items a reranker needs, and what it makes of them."""

    @property
    def wanted(self) -> list[str]: ...

    def table(
        self, shortlist: pa.Table, seen: pa.Table, user: Mapping[str, Any]
    ) -> NDArray[np.float32]: ...


class Model(Protocol):
    """Scores rows of features; larger is better."""

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]: ...


class Reranker(Protocol):
    """What `fanns.datasets.recsys_rerank.Reranker` is."""

    @property
    def columns(self) -> Columns: ...

    @property
    def model(self) -> Model: ...


@dataclass(frozen=True)
class Recommendations:
    """Items for one user, best first.

    Attributes:
        table: id, score (of the vectors, larger is better), `reranked` (the reranker's, where there
            is one), and the columns asked for.
        status: of the search: "exact", "approximate" or "incomplete".
        matches: items that pass the filter, those seen left out.
        shortlist: items that the reranker ordered, 0 without one.
        features: what it saw of these, float32[n, f], None without one.
    """

    table: pa.Table
    status: str
    matches: int
    shortlist: int
    features: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return int(self.table.num_rows)


class Users:
    """Users by id: vectors, what each has seen, attributes."""

    def __init__(self, table: pa.Table, name: str = "users") -> None:
        """A table with id, embedding and, where there is one, seen (lists of items' ids).

        Raises InputError where it lacks one of the former, or holds them in another form.
        """
        for column in ("id", "embedding"):
            if column not in table.column_names:
                raise InputError(f"{name}: no column {column!r}, but {table.column_names}")
        kind = table.schema.field("embedding").type
        if not pa.types.is_fixed_size_list(kind) or not pa.types.is_floating(kind.value_type):
            raise InputError(f"{name}: embedding is {kind}, expected vectors of floats")
        if "seen" in table.column_names and not _is_list(table.schema.field("seen").type):
            raise InputError(f"{name}: seen is {table.schema.field('seen').type}, expected lists")
        self.table, self.name = table.combine_chunks(), name

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Users:
        """Of a Parquet file; raises InputError where it is none, or lacks what is needed."""
        try:
            table = pq.read_table(Path(path))
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{path}: cannot read users: {error}") from error
        return cls(table, str(path))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def _places(self) -> dict[Any, int]:
        return {key: place for place, key in enumerate(self.table["id"].to_pylist())}

    def row(self, user: int | str) -> int:
        """The row of an id, text that is a number for ids that are numbers.

        Raises UnknownIdError for another id.
        """
        place = self._places.get(user)
        if place is None and isinstance(user, str) and user.lstrip("-").isdigit():
            place = self._places.get(int(user))
        if place is None:
            raise UnknownIdError(f"{self.name}: no user with id {user!r} among {len(self):,}")
        return place

    def vector(self, row: int) -> NDArray[np.float32]:
        """float32[d]."""
        return np.asarray(self.table["embedding"][row].values.to_numpy(), np.float32)

    def seen(self, row: int) -> pa.Array:
        """Ids of items that the user has seen.

        Raises InputError where the file does not say.
        """
        if "seen" not in self.table.column_names:
            raise InputError(f"{self.name}: no column 'seen': what is unseen is not known")
        found = self.table["seen"][row]
        return found.values if found.is_valid else pa.array([], found.type.value_type)

    def attributes(self, row: int) -> dict[str, Any]:
        """All other columns of a user."""
        one = self.table.slice(row, 1)
        told = one.drop_columns([name for name in NOT_TOLD if name in one.column_names])
        return dict(told.to_pylist()[0])


def recommend(
    index: Index,
    users: Users,
    user: int | str,
    k: int = 10,
    where: Any = None,
    params: Mapping[str, Any] | None = None,
    *,
    unseen: bool = True,
    reranker: Reranker | None = None,
    shortlist: int = SHORTLIST,
    nulls: str | None = None,
    recall: float = 0.95,
    exact: bool = False,
    columns: Sequence[str] = (),
) -> Recommendations:
    """Exactly min(k, matches) items for a user, best first.

    Args:
        where, params, nulls, recall, exact: as `Index.search` takes them.
        unseen: leave out the items of the user's `seen` list.
        reranker: orders the `shortlist` (at least k) nearest items; the first k of these come back.
        columns: of items, to come with them.

    Raises:
        UnknownIdError: there is no such user. InputError: vectors of another dimension; columns
        that the reranker needs are not in the index; nothing is known of what was seen.
    """
    row = users.row(user)
    vector = users.vector(row)
    if len(vector) != index.dimensions:
        raise InputError(
            f"{users.name}: vectors of {len(vector)} dimensions, the index has {index.dimensions}: "
            "items and users must come from one model"
        )
    before = users.seen(row) if unseen or reranker is not None else pa.array([], pa.int64())
    rule = default_nulls(where) if nulls is None else nulls
    tree = where
    if unseen and len(before):
        left = ~ids(id_values(before))
        tree = left if where is None else left & where
    wanted = list(dict.fromkeys([*columns, *(reranker.columns.wanted if reranker else ())]))
    hits = index.search(
        vector,
        max(k, shortlist) if reranker is not None else k,
        tree,
        params,
        nulls=rule,
        recall=recall,
        exact=exact,
        columns=wanted,
    )
    table = hits.to_arrow(wanted).drop_columns(["distance"])
    if reranker is None:
        return Recommendations(table, hits.status, hits.matches, 0)
    known = index.rows(ids(id_values(before)), columns=reranker.columns.wanted)
    features = reranker.columns.table(table, known, users.attributes(row))
    scores = reranker.model.predict(features) if len(table) else np.empty(0)
    order = np.argsort(-scores, kind="stable")[:k]
    ranked = table.add_column(2, "reranked", pa.array(scores, pa.float64())).take(pa.array(order))
    kept = [name for name in ranked.column_names if name not in wanted or name in columns]
    shown = ranked.select(kept)
    return Recommendations(shown, hits.status, hits.matches, len(table), features[order])


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def id_values(values: pa.Array) -> Any:
    """Ids as filters take them: an array of numbers, or a list of texts."""
    values = pc.drop_null(values)
    if pa.types.is_integer(values.type):
        return values.to_numpy(zero_copy_only=False)
    return values.to_pylist()
