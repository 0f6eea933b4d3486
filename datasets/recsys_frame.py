"""What a reranker sees of a shortlist: one row of numbers for each candidate of one user.

    columns = learn(items, users)                # which attributes, and the values they may have
    table = columns.table(shortlist, seen, user) # float32[n, f], names in columns.names

Beside the attributes themselves stands how well each fits what the user took before: the share of
those items that have the candidate's value (of a list, the mean over its values). A user's own
attributes come last. Candidates of one user are told apart by the former; by the latter only
together with them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.errors import InputError

Floats = NDArray[np.float32]
Values = Mapping[str, Sequence[str]]

GIVEN = ("score", "rank")
LEFT_OUT = ("id", "embedding", "seen", "valid", "test", *GIVEN)
MOST_VALUES = 64
"""Values of a column that are told apart, the most frequent; the others are one."""

OTHER = -1.0
"""Code of a value that is none of them; null is another."""
NULL = -2.0


@dataclass(frozen=True)
class FrameColumns:
    """Columns of a shortlist that become features, by kind, and the known values of each.

    Attributes:
        numbers: of items; dates count as days, true as 1.
        choices, lists: of items, with their known values as text.
        user_numbers, user_choices: the same of users.
    """

    numbers: tuple[str, ...] = ()
    choices: Values = field(default_factory=dict)
    lists: Values = field(default_factory=dict)
    user_numbers: tuple[str, ...] = ()
    user_choices: Values = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Of the features, in order."""
        fits = [f"fit of {name}" for name in (*self.choices, *self.lists)]
        user = [f"user's {name}" for name in (*self.user_numbers, *self.user_choices)]
        return [*GIVEN, *self.numbers, *self.choices, *fits, "taken before", *user]

    @property
    def known(self) -> dict[str, Sequence[str]]:
        """Features that are codes, and the values that 0, 1, ... stand for."""
        user = {f"user's {name}": values for name, values in self.user_choices.items()}
        return dict(self.choices) | user

    @property
    def coded(self) -> dict[str, int]:
        """Features that are codes of values, and how many codes there are, OTHER and NULL aside."""
        return {name: len(values) for name, values in self.known.items()}

    @property
    def wanted(self) -> list[str]:
        """Columns of items that a shortlist must have beside id and score."""
        return [*self.numbers, *self.choices, *self.lists]

    def table(self, shortlist: pa.Table, seen: pa.Table, user: Mapping[str, Any]) -> Floats:
        """The features of n candidates, float32[n, f].

        Args:
            shortlist: best first; `score` and the wanted columns.
            seen: the wanted columns of what the user took before.
            user: the user's attributes.

        Raises:
            InputError: a column is missing.
        """
        for table, what in ((shortlist, "shortlist"), (seen, "items seen")):
            missing = [name for name in self.wanted if name not in table.column_names]
            if missing:
                raise InputError(f"the {what} lack the column {missing[0]!r} that was learned from")
        n = shortlist.num_rows
        columns: list[NDArray[Any]] = [
            shortlist["score"].to_numpy(zero_copy_only=False),
            np.arange(n),
            *(_numbers(shortlist[name]) for name in self.numbers),
        ]
        codes = {name: _codes(shortlist[name], values) for name, values in self.choices.items()}
        columns += codes.values()
        for name, values in self.choices.items():
            columns.append(_fit(codes[name], _codes(seen[name], values), len(values)))
        for name, values in self.lists.items():
            columns.append(_list_fit(shortlist[name], seen[name], values))
        columns.append(np.full(n, seen.num_rows))
        for name in self.user_numbers:
            columns.append(np.full(n, _numbers(pa.array([user.get(name)]))[0]))
        for name, values in self.user_choices.items():
            given = user.get(name)
            told = pa.array([None if given is None else str(given)], pa.string())
            columns.append(np.full(n, _codes(told, values)[0]))
        return np.column_stack(columns).astype(np.float32)

    def to_json(self) -> str:
        """As text that `from_json` takes back."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> FrameColumns:
        """Raises InputError for another text."""
        try:
            told = json.loads(text)
            numbers = {name: tuple(map(str, told[name])) for name in ("numbers", "user_numbers")}
            values = {
                name: {str(column): [str(v) for v in known] for column, known in told[name].items()}
                for name in ("choices", "lists", "user_choices")
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"columns of a reranker: {error!r}") from error
        return cls(
            numbers["numbers"],
            values["choices"],
            values["lists"],
            numbers["user_numbers"],
            values["user_choices"],
        )


def learn(items: pa.Table, users: pa.Table, *, most: int = MOST_VALUES) -> FrameColumns:
    """The attributes of items and users that can be features, and their frequent values."""
    numbers, choices, lists = _kinds(items, most)
    user_numbers, user_choices, _ = _kinds(users, most)
    return FrameColumns(numbers, choices, lists, user_numbers, user_choices)


def _kinds(
    table: pa.Table, most: int
) -> tuple[tuple[str, ...], dict[str, list[str]], dict[str, list[str]]]:
    numbers: list[str] = []
    choices: dict[str, list[str]] = {}
    lists: dict[str, list[str]] = {}
    for column in table.schema:
        name, kind = column.name, column.type
        if name in LEFT_OUT:
            continue
        if _is_list(kind):
            lists[name] = _frequent(pc.list_flatten(table[name]), most)
        elif _is_text(kind):
            choices[name] = _frequent(table[name], most)
        elif _is_number(kind):
            numbers.append(name)
    return tuple(numbers), choices, lists


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    of = pa.types
    return bool(
        of.is_integer(kind)
        or of.is_floating(kind)
        or of.is_boolean(kind)
        or of.is_date(kind)
        or of.is_timestamp(kind)
    )


def _frequent(column: Any, most: int) -> list[str]:
    """The most frequent values as text; ties by the text."""
    counted = Counter(str(value) for value in column.to_pylist() if value is not None)
    return [value for value, _ in sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:most]]


def _numbers(column: Any) -> NDArray[np.float64]:
    """float64[n], NaN for null."""
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.date32())
    if pa.types.is_date(column.type):
        column = column.cast(pa.date32()).cast(pa.int32())
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _codes(column: Any, values: Sequence[str]) -> NDArray[np.float64]:
    """float64[n]: places among the values, OTHER, or NULL."""
    text = column.cast(pa.string())
    places = pc.index_in(text, pa.array(list(values), pa.string()))
    found = pc.fill_null(places.cast(pa.float64()), OTHER).to_numpy(zero_copy_only=False)
    return np.where(pc.is_null(text).to_numpy(zero_copy_only=False), NULL, found)


def _fit(codes: NDArray[Any], before: NDArray[Any], known: int) -> NDArray[np.float64]:
    """The share of the codes before that are each code's, float64[n]; 0 for OTHER and NULL."""
    counts = np.bincount(before[before >= 0].astype(np.int64), minlength=known)
    shares = np.append(counts / max(len(before), 1), 0.0)
    return np.asarray(shares[np.where(codes >= 0, codes, known).astype(np.int64)])


def _list_fit(column: Any, before: Any, values: Sequence[str]) -> NDArray[np.float64]:
    """The same for lists: the mean over an item's values, float64[n]; 0 for none."""
    owners, codes = _flat(column, values)
    _, taken = _flat(before, values)
    counts = np.bincount(taken[taken >= 0].astype(np.int64), minlength=len(values))
    shares = np.append(counts / max(len(before), 1), 0.0)
    own = shares[np.where(codes >= 0, codes, len(values)).astype(np.int64)]
    sums = np.bincount(owners, own, minlength=len(column))
    return np.asarray(sums / np.maximum(np.bincount(owners, minlength=len(column)), 1))


def _flat(column: Any, values: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Whose each value of a column of lists is, and its code."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    owners, flat = pc.list_parent_indices(column), pc.list_flatten(column)
    return owners.to_numpy().astype(np.int64), _codes(flat, values)
