"""MovieLens 1M and its like, from the user's own zip or folder: ratings.dat, users.dat, movies.dat.

    ratings.dat   UserID::MovieID::Rating::Timestamp
    users.dat     UserID::Gender::Age::Occupation::Zip-code
    movies.dat    MovieID::Title (Year)::Genre|Genre|...

The data set may not be passed on (GroupLens' terms), so nothing of it is here.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fanns.errors import InputError, StorageError

from .recsys_interactions import Interactions, by_ids

RATINGS, USERS, MOVIES = "ratings.dat", "users.dat", "movies.dat"
# What users.dat means by its numbers, as the data set's README tells.
AGES = {1: "under 18", 18: "18-24", 25: "25-34", 35: "35-44", 45: "45-49", 50: "50-55", 56: "56+"}
_YEAR = re.compile(r"^(.*?)\s*\((\d{4})\)\s*$")


def read(place: Path) -> tuple[Interactions, pa.Table, pa.Table]:
    """The ratings, users and movies of a zip or folder, one feature row for each user and movie.

    users: id, gender, age (the lowest of the group), age_group, occupation, zip_code. movies: id,
    title, year, genres. Movies that nobody rated are kept.

    Raises InputError with file and line for what cannot be read; StorageError for a zip that is
    damaged or lacks a file.
    """
    ratings = _fields(place, RATINGS, 4)
    numbers = np.array(
        [_whole(RATINGS, n, row) for n, row in enumerate(ratings, 1) if row], np.int64
    ).reshape(-1, 4)
    users = _users(_fields(place, USERS, 5))
    movies = _movies(_fields(place, MOVIES, 3))
    data = by_ids(
        pa.array(numbers[:, 0]),
        pa.array(numbers[:, 1]),
        values=numbers[:, 2],
        times=numbers[:, 3],
        user_ids=users["id"].combine_chunks(),
        item_ids=movies["id"].combine_chunks(),
    )
    return data, _in_order(users, data.user_ids), _in_order(movies, data.item_ids)


def _in_order(table: pa.Table, ids: pa.Array) -> pa.Table:
    """The rows of these ids; nulls for one that the table does not have."""
    rows = pc.index_in(ids, table["id"].combine_chunks())
    return table.take(rows).set_column(0, "id", ids)


def _users(rows: list[list[str]]) -> pa.Table:
    found = [(n, row) for n, row in enumerate(rows, 1) if row]
    numbers = [_whole(USERS, n, [row[0], row[2], row[3]]) for n, row in found]
    for (n, row), (_, age, _) in zip(found, numbers, strict=True):
        if row[1] not in ("F", "M") or age not in AGES:
            raise InputError(f"{USERS}:{n}: gender {row[1]!r} or age {row[2]!r} is unknown")
    return _unique(
        USERS,
        pa.table(
            {
                "id": pa.array([user for user, _, _ in numbers], pa.int64()),
                "gender": [row[1] for _, row in found],
                "age": pa.array([age for _, age, _ in numbers], pa.int32()),
                "age_group": [AGES[age] for _, age, _ in numbers],
                "occupation": pa.array([work for _, _, work in numbers], pa.int32()),
                "zip_code": [row[4] for _, row in found],
            }
        ),
    )


def _movies(rows: list[list[str]]) -> pa.Table:
    found = [(n, row) for n, row in enumerate(rows, 1) if row]
    titles = [(row[1], _YEAR.match(row[1])) for _, row in found]
    return _unique(
        MOVIES,
        pa.table(
            {
                "id": pa.array([_whole(MOVIES, n, row[:1])[0] for n, row in found], pa.int64()),
                "title": [dated.group(1) if dated else title for title, dated in titles],
                "year": pa.array([int(d.group(2)) if d else None for _, d in titles], pa.int32()),
                "genres": pa.array(
                    [[g for g in row[2].split("|") if g] for _, row in found], pa.list_(pa.string())
                ),
            }
        ),
    )


def _unique(name: str, table: pa.Table) -> pa.Table:
    counts = pc.value_counts(table["id"])
    for entry in counts.filter(pc.greater(counts.field("counts"), 1)):
        raise InputError(f"{name}: the id {entry['values'].as_py()} comes twice")
    return table


def _whole(name: str, number: int, fields: list[str]) -> list[int]:
    for field in fields:
        if not (field.isascii() and field.isdigit()):
            raise InputError(f"{name}:{number}: {field[:40]!r} is no whole number")
    return list(map(int, fields))


def _fields(place: Path, name: str, count: int) -> list[list[str]]:
    """The fields of every line, [] for an empty one."""
    lines = _bytes(place, name).decode("latin-1").split("\n")
    rows = [line.rstrip("\r").split("::") if line.strip() else [] for line in lines]
    for number, row in enumerate(rows, 1):
        if row and len(row) != count:
            raise InputError(f"{name}:{number}: {len(row)} fields, expected {count} between ::")
    return rows


def _bytes(place: Path, name: str) -> bytes:
    try:
        if place.is_dir():
            return (place / name).read_bytes()
        with zipfile.ZipFile(place) as archive:
            inside = [n for n in archive.namelist() if PurePosixPath(n).name == name]
            if not inside:
                raise InputError(f"{place} holds no {name}: it is not a MovieLens zip of this kind")
            return archive.read(min(inside, key=len))
    except (OSError, zipfile.BadZipFile) as error:
        raise StorageError(f"{name} of {place} cannot be read: {error}") from error
