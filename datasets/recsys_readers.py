"""Interactions from files of others, and the features that come with them.

    source = read("gowalla")            # a folder of train.txt and test.txt, lists of items
    source = read("ml-1m.zip")          # MovieLens, as its owners publish it
    source = read("clicks.parquet")     # columns user and item, maybe value and time

Lists are lines `user item item ...` (NGCF, LightGCN), triples are lines `user item value`. What a
line holds that cannot be read is an error with the line's number.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.errors import InputError, StorageError

from . import recsys_movielens
from .recsys_interactions import Interactions, by_ids
from .recsys_parquet import Columns, columns, features
from .recsys_splits import Split, given

FORMATS = ("lists", "triples", "movielens", "parquet")
PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Source:
    """What was read.

    Attributes:
        interactions: all of them.
        split: the parts, where files say which is which; else None.
        users, items: features, one row for each user or item, in their order, `id` first; None
            where there are none.
        told: where it came from.
    """

    interactions: Interactions
    split: Split | None = None
    users: pa.Table | None = None
    items: pa.Table | None = None
    told: str = ""


def read(path: str | os.PathLike[str], form: str | None = None) -> Source:
    """Interactions of a file or a folder.

    form: one of FORMATS; by default what the names and the lines tell.

    Raises InputError for lines that cannot be read and for files of no known form; StorageError
    for files that cannot be opened.
    """
    place = Path(path)
    if form is not None and form not in FORMATS:
        raise InputError(f"unknown format {form!r}; expected one of {', '.join(FORMATS)}")
    form = form or _form(place)
    if form == "movielens":
        ratings, users, items = recsys_movielens.read(place)
        return Source(ratings, None, users, items, f"MovieLens {place.name}")
    if form == "parquet":
        return _parquet(place)
    return _text(place, form)


def _form(place: Path) -> str:
    """What a path holds; "text" for lines that have yet to be looked at."""
    if not place.exists():
        raise StorageError(f"{place} does not exist")
    if place.is_dir():
        if (place / "ratings.dat").exists():
            return "movielens"
        if any((place / f"{part}.parquet").exists() for part in ("train", "interactions")):
            return "parquet"
        return "text"
    suffix = place.suffix.lower()
    return {".zip": "movielens", ".parquet": "parquet"}.get(suffix, "text")


def _text(place: Path, form: str) -> Source:
    """A text file, or a folder of train.txt, test.txt and maybe valid.txt."""
    files = _parts(place, ".txt") if place.is_dir() else {"": place}
    return _source(place, {name: _lines(path, form) for name, path in files.items()})


def _parts(place: Path, suffix: str) -> dict[str, Path]:
    files = {p: place / f"{p}{suffix}" for p in PARTS if (place / f"{p}{suffix}").exists()}
    if not {"train", "test"} <= files.keys():
        raise InputError(
            f"{place} holds no interactions that this reads: expected train{suffix} and "
            f"test{suffix}, ratings.dat, or interactions.parquet"
        )
    return files


def _source(place: Path, parts: dict[str, Columns]) -> Source:
    """One space of ids over all files; the parts are those whose names tell."""
    every = list(parts.values())
    user_ids = pa.concat_arrays([c.users for c in every] + [c.empty for c in every])
    item_ids = pa.concat_arrays([c.items for c in every])
    made = {
        name: by_ids(c.users, c.items, values=c.values, times=c.times, user_ids=user_ids,
                     item_ids=item_ids)
        for name, c in parts.items()
    }  # fmt: skip
    if set(made) == {""}:
        return Source(made[""], told=place.name)
    whole = by_ids(
        pa.concat_arrays([c.users for c in every]),
        item_ids,
        values=_joined([c.values for c in every]),
        times=_joined([c.times for c in every]),
        user_ids=user_ids,
    )
    split = given(made["train"], made.get("valid"), made["test"])
    return Source(whole, split, told=place.name)


def _joined(parts: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    found = [part for part in parts if part is not None]
    return np.concatenate(found) if len(found) == len(parts) else None


def _lines(path: Path, form: str) -> Columns:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    fields = [line.split() for line in lines]
    if form == "text":
        form = _kind(path, fields)
    return _triples(path, fields) if form == "triples" else _lists(path, fields)


def _kind(path: Path, fields: list[list[bytes]]) -> str:
    """Lists or triples, where the lines leave no doubt."""
    filled = [line for line in fields if line]
    heads = [line[0] for line in filled]
    alike = all(len(line) == 3 for line in filled)
    repeated = len(set(heads)) < len(heads)
    if alike and repeated:
        return "triples"
    if alike and filled:
        raise InputError(
            f"{path} may hold `user item item` or `user item value`: say which (lists or triples)"
        )
    return "lists"


def _lists(path: Path, fields: list[list[bytes]]) -> Columns:
    users, items, empty, first = [], [], [], dict[int, int]()
    for number, line in enumerate(fields, 1):
        if not line:
            continue
        row = _numbers(path, number, line)
        if (before := first.setdefault(row[0], number)) != number:
            raise InputError(f"{path}:{number}: user {row[0]} stands in line {before} already")
        users += [row[0]] * (len(row) - 1)
        items += row[1:]
        if len(row) == 1:
            empty.append(row[0])
    kind = pa.int64()
    return Columns(pa.array(users, kind), pa.array(items, kind), empty=pa.array(empty, kind))


def _triples(path: Path, fields: list[list[bytes]]) -> Columns:
    pairs, values = [], []
    for number, line in enumerate(fields, 1):
        if not line:
            continue
        if len(line) != 3:
            raise InputError(
                f"{path}:{number}: {len(line)} fields, expected three: user, item and value"
            )
        pairs.append(_numbers(path, number, line[:2]))
        try:
            values.append(float(line[2]))
        except ValueError as error:
            raise InputError(f"{path}:{number}: {_shown(line[2])} is no number") from error
        if not np.isfinite(values[-1]):
            raise InputError(f"{path}:{number}: the value is {_shown(line[2])}")
    table = np.array(pairs, np.int64).reshape(-1, 2)
    held = np.array(values, np.float32)
    plain = bool((held == 1).all())  # a 1 behind every pair tells nothing
    return Columns(pa.array(table[:, 0]), pa.array(table[:, 1]), None if plain else held)


def _numbers(path: Path, number: int, fields: list[bytes]) -> list[int]:
    if not all(map(bytes.isdigit, fields)):
        wrong = next(field for field in fields if not field.isdigit())
        raise InputError(f"{path}:{number}: {_shown(wrong)} is no whole number from 0")
    return list(map(int, fields))


def _shown(field: bytes) -> str:
    return repr(field[:40].decode("utf-8", "replace"))


def _parquet(place: Path) -> Source:
    """One file, a folder with interactions.parquet, or one of train, test and maybe valid."""
    if place.is_dir():
        whole = place / "interactions.parquet"
        files = {"": whole} if whole.exists() else _parts(place, ".parquet")
    else:
        files = {"": place}
    source = _source(place, {name: columns(path) for name, path in files.items()})
    if not place.is_dir():
        return source
    data = source.interactions
    return Source(
        data,
        source.split,
        features(place / "users.parquet", data.user_ids),
        features(place / "items.parquet", data.item_ids),
        source.told,
    )
