"""Published figures of click models on MovieLens 1M, and what to do to arrive at them.

    made = run("autoint", Path("ml-1m.zip"))
    made.metrics, made.published

The protocols are those of the papers, from the rows that count to the seed of the shuffle. The data
is the user's own (`recsys_movielens`), as it may not be passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fanns.errors import InputError

from . import dataset, recsys_movielens
from .recsys_autoint import AutoInt
from .recsys_ctr import ClickModel, Clicks, fit_clicks, measure
from .recsys_dcn import Dcn
from .recsys_field_embedding import compressed, full, unified
from .recsys_fields import Field, encode, fit_fields
from .recsys_report import FitReport
from .recsys_trainer import Training

AUTOINT_FIELDS = (
    "gender", "age", "occupation", "zip_code", "release", "time", "genres",
)  # fmt: skip
UNIFIED_FIELDS = ("user", "movie", "gender", "age", "occupation", "zip_code")
COARSE = 1970  # release years before it count by decade, the first one up to 1929
SMALLEST = 0.05 / 3**0.5  # deviation of numbers drawn evenly from -0.05 to 0.05
_DEEP = (400, 400)  # of AutoInt+

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """How a figure is made.

    Attributes:
        told: what it is, with its source. published: the figures by name.
        columns: the fields. model: makes it from fields and a seed. training: as published.
        shuffle: seed of the order before the split into 8:1:1.
    """

    told: str
    published: dict[str, float]
    columns: Sequence[str]
    model: Callable[[Sequence[Field], int], ClickModel]
    training: Training
    shuffle: int = 2019


@dataclass(frozen=True)
class Made:
    """What a recipe came to, beside what was published.

    Attributes:
        rows: of training, validation and test. params: numbers that the tables hold.
    """

    name: str
    metrics: dict[str, float]
    published: dict[str, float]
    rows: tuple[int, int, int]
    params: int
    model: ClickModel
    report: FitReport
    fields: list[Field] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Everything but the model, for JSON."""
        return {
            "told": RECIPES[self.name].told,
            "metrics": self.metrics,
            "published": self.published,
            "rows": dict(zip(("train", "valid", "test"), self.rows, strict=True)),
            "table_params": self.params,
            "best_epoch": self.report.best_epoch,
            "stopped": self.report.stopped,
            "cpu_seconds": self.report.cpu_seconds,
            "wall_seconds": self.report.wall_seconds,
            "config": self.report.config,
            "config_hash": self.report.config_hash,
            "versions": self.report.versions,
        }


def _autoint(deep: tuple[int, ...]) -> Callable[[Sequence[Field], int], ClickModel]:
    def make(fields: Sequence[Field], seed: int) -> ClickModel:
        return AutoInt(
            fields, 16, layers=3, units=64, heads=2, attention_dropout=0.4, dropout=0.1,
            deep=deep, seed=seed,
        )  # fmt: skip

    return make


def _dcn(kind: str) -> Callable[[Sequence[Field], int], ClickModel]:
    def make(fields: Sequence[Field], seed: int) -> ClickModel:
        if kind == "multiplexed":
            rows = sum(known.rows for known in fields) // 10
            tables = unified(max(1, rows), 1, std=SMALLEST)
        elif kind == "per-feature":
            tables = compressed("hashed", 0.1, small=0, std=SMALLEST)
        else:
            tables = full(SMALLEST)
        return Dcn(fields, 30, tables=tables, seed=seed)

    return make


_AUTOINT = Training(lr=1e-3, batch=1024, epochs=50, eval_every=1, patience=3, threads=2)
_UNIFIED = Training(
    lr=1e-3, batch=128, epochs=50, eval_every=1, patience=5, weight_decay=1e-5, threads=2
)
RECIPES: dict[str, Recipe] = {
    "autoint": Recipe(
        "AutoInt (Song et al. 2019)",
        {"auc": 0.8456, "logloss": 0.3797},
        AUTOINT_FIELDS,
        _autoint(()),
        _AUTOINT,
    ),
    "autoint-plus": Recipe(
        "AutoInt+ (Song et al. 2019)",
        {"auc": 0.8488, "logloss": 0.3753},
        AUTOINT_FIELDS,
        _autoint(_DEEP),
        _AUTOINT,
    ),
    "unified-full": Recipe(
        "one table a feature, 1.64 MB (Coleman et al. 2023, table 1)",
        {"auc": 0.8872},
        UNIFIED_FIELDS,
        _dcn("full"),
        _UNIFIED,
    ),
    "unified-hashed": Recipe(
        "a hashed table a feature, 0.16 MB (Coleman et al. 2023, table 1)",
        {"auc": 0.7707},
        UNIFIED_FIELDS,
        _dcn("per-feature"),
        _UNIFIED,
    ),
    "unified-shared": Recipe(
        "feature multiplexing, 0.16 MB (Coleman et al. 2023, table 1)",
        {"auc": 0.8200},
        UNIFIED_FIELDS,
        _dcn("multiplexed"),
        _UNIFIED,
    ),
}


def run(
    name: str,
    place: Path,
    *,
    training: Training | None = None,
    seed: int = 0,
    say: Say | None = None,
) -> Made:
    """Follows a recipe on a MovieLens zip or folder; training: in place of the published one.

    Raises InputError for an unknown recipe, or data that cannot be read.
    """
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}; expected one of {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    table, labels = clicks(place)
    table = table.select(recipe.columns)
    # The papers number all values before they split; values alone tell nothing of labels.
    fields = fit_fields(table)
    order = np.random.default_rng(recipe.shuffle).permutation(len(table))
    first, second = int(len(order) * 0.8), int(len(order) * 0.9)
    parts = [
        Clicks.of(fields, table.take(pa.array(rows)), labels[rows])
        for rows in (order[:first], order[first:second], order[second:])
    ]
    model = recipe.model(fields, seed)
    report = fit_clicks(
        model,
        parts[0],
        parts[1],
        training or recipe.training,
        config={"recipe": name, "seed": seed},
        say=say,
    )
    return Made(
        name,
        measure(model, parts[2]),
        recipe.published,
        (len(parts[0]), len(parts[1]), len(parts[2])),
        model.embedding.num_params,
        model,
        report,
        fields,
    )


def write(made: Made, place: Path, folder: Path) -> Path:
    """The movies that the model was fitted on as a data set, to find like ones by cosine.

    items.parquet: id, embedding (the vectors of a movie's fields side by side), title, year and
    genres.
    """
    data, _, movies = recsys_movielens.read(place)
    rated = np.flatnonzero(data.item_counts > 0)
    movies = movies.take(pa.array(rated))
    known = {
        "movie": pa.array(rated),
        "release": _release(movies["year"]),
        "genres": movies["genres"],
    }
    names = [field.name for field in made.fields if field.name in known]
    own = [field for field in made.fields if field.name in names]
    columns = encode(own, pa.table({name: known[name] for name in names}))
    vectors = made.model.vectors(columns, names)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    items = movies.select(["id", "title", "year", "genres"]).add_column(1, "embedding", flat)
    seed = made.report.config.get("seed")
    found = dataset.Dataset(items, seed=seed, source=place.name, model=made.name, metric="cosine")
    return dataset.write(found, folder, details={"fit": made.report.as_json()} | made.record())


def clicks(place: Path) -> tuple[pa.Table, NDArray[np.float32]]:
    """One row for each rating but those of 3, and 1 where it is above 3.

    Columns: user, movie, gender, age, occupation, zip_code, release (year or decade), time
    (seconds), genres.
    """
    data, users, movies = recsys_movielens.read(place)
    if data.values is None or data.times is None:
        raise InputError(f"{place} has ratings without values or times")
    keep = data.values != 3
    user, movie = data.users[keep], np.asarray(data.indices)[keep]
    of_user, of_movie = users.take(pa.array(user)), movies.take(pa.array(movie))
    columns: dict[str, Any] = {"user": user, "movie": movie}
    columns |= {name: of_user[name] for name in ("gender", "age", "occupation", "zip_code")}
    columns["release"] = _release(of_movie["year"])
    columns["time"] = data.times[keep].astype(np.float64)
    columns["genres"] = of_movie["genres"]
    return pa.table(columns), (data.values[keep] > 3).astype(np.float32)


def _release(years: pa.ChunkedArray) -> pa.Array:
    """Years from COARSE on, decades before; all before 1930 are one."""
    given = np.asarray(pc.fill_null(years.cast(pa.int64()), 0))
    coarse = np.maximum(given // 10 * 10, COARSE - 50)
    return pa.array(np.where(given >= COARSE, given, np.where(given > 0, coarse, 0)))
