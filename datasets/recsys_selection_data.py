"""Rows to select fields for: those of MovieLens as ERASE has them, of a Parquet file, or planted.

    table, labels = read("ml-1m.zip")

On MovieLens 1M the protocol is that of Jia et al. (2024): all ratings, 1 above 3 and 0 else, every
column a category, times and combinations of genres too. Unlike in the authors' code, values are
known from the training part alone. The data is the user's own (`recsys_movielens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanns.errors import InputError, StorageError

from . import recsys_movielens, recsys_planted
from .recsys_trainer import Training

SYNTHETIC = "synthetic"
LABEL = "label"
# The authors' batch, rate, epochs and patience.
TRAINING = Training(lr=1e-3, batch=4096, epochs=100, eval_every=1, patience=3)

Labels = NDArray[np.float32]


def read(
    data: str, label: str = LABEL, columns: Sequence[str] | None = None, *, seed: int = 0
) -> tuple[pa.Table, Labels]:
    """The fields and what came of each row (0 or 1) of a MovieLens zip or folder, a Parquet file
    with the column `label`, or SYNTHETIC: 20,000 rows of nine fields, f5 to f8 of which are noise.

    columns: the fields, by default all other ones. Raises InputError for a column that is not
    there, labels that are not 0 or 1; StorageError for a file that cannot be read.
    """
    place = Path(data)
    if data == SYNTHETIC and not place.exists():
        made = recsys_planted.interactions(20_000, fields=9, values=6, strength=2.0, seed=seed)
        table, labels = made.table, made.labels
    elif place.suffix == ".zip" or (place / recsys_movielens.RATINGS).exists():
        table, labels = ratings(place)
    else:
        table, labels = _parquet(place, label)
    if columns is None:
        return table, labels
    if missing := [name for name in columns if name not in table.column_names]:
        raise InputError(f"no column {missing[0]!r}; there are {', '.join(table.column_names)}")
    return table.select(list(columns)), labels


def ratings(place: Path) -> tuple[pa.Table, Labels]:
    """ERASE's nine fields of every rating: user, movie, time, title, genres, gender, age,
    occupation, zip_code.
    """
    data, users, movies = recsys_movielens.read(place)
    if data.values is None or data.times is None:
        raise InputError(f"{place} has ratings without values or times")
    rated = np.asarray(data.indices)
    of_user, of_movie = users.take(pa.array(data.users)), movies.take(pa.array(rated))
    columns = {"user": pa.array(data.users), "movie": pa.array(rated), "time": pa.array(data.times)}
    columns["title"] = of_movie["title"]
    columns["genres"] = pc.binary_join(of_movie["genres"], "|")
    columns |= {name: of_user[name] for name in ("gender", "age", "occupation", "zip_code")}
    return pa.table(columns), (data.values > 3).astype(np.float32)


def _parquet(path: Path, label: str) -> tuple[pa.Table, Labels]:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(f"{path}: cannot read it as Parquet: {error}") from error
    if label not in table.column_names:
        raise InputError(
            f"{path}: no column {label!r} that tells what came of each row; name it with --label "
            f"(there are {', '.join(table.column_names)})"
        )
    given = table[label]
    try:
        labels = given.cast(pa.float32()).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{path}: {label} is {given.type}, expected 0 and 1") from error
    if not np.isin(labels, (0, 1)).all():
        raise InputError(f"{path}: {label} holds more than 0 and 1, or nulls")
    return table.drop_columns([label]), labels
