"""The recommenders that give vectors, by name, all fitted by one call.

fitted = fit("gf-cf", train, valid, Options(seed=0))
fitted.items, fitted.users          # float32[n, d], to be searched by inner product
fitted.fold_in(new_rows)            # vectors of users that were not there
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.errors import InputError

from . import recsys_gfcf, recsys_text
from .recsys_interactions import Interactions
from .recsys_metrics import Scores, inner_products
from .recsys_report import FitReport, versions

Floats = NDArray[np.float32]
Say = Callable[[str], None]
UNWATCHED = 100  # epochs of a training without validation, where none are given


@dataclass(frozen=True)
class Options:
    """What a fit may be told; None is the model's own default.

    Attributes:
        dimensions, layers, decay, way, negatives: see `recsys_pairwise.Settings`.
        lr, batch, epochs, eval_every, patience, seconds: see `recsys_trainer.Training`.
        weight: of GF-CF's low-pass filter.
        text: columns of items that text models read. encoder: of `text`, see `recsys_text`.
        temperature: of `aligned`. seed: of all that is drawn. threads: of torch.
    """

    dimensions: int | None = None
    layers: int | None = None
    decay: float | None = None
    way: str | None = None
    negatives: int | None = None
    lr: float | None = None
    batch: int | None = None
    epochs: int | None = None
    eval_every: int | None = None
    patience: int | None = None
    seconds: float | None = None
    weight: float | None = None
    text: tuple[str, ...] | None = None
    encoder: str | None = None
    temperature: float | None = None
    seed: int = 0
    threads: int | None = None

    def among(self, kind: Any) -> dict[str, Any]:
        """What was given of the attributes that a dataclass has."""
        own = {f.name for f in fields(kind)}
        return {k: v for k, v in asdict(self).items() if k in own and v is not None}


@dataclass(frozen=True)
class Fitted:
    """A fitted recommender.

    Attributes:
        users, items: float32[n, d]; the inner product of two is a score.
        fold_in: from interactions of any users to their vectors float32[n_users, d].
        report: what the fit did.
        scores: full scores, of models that are more than their vectors; else those of the vectors.
        full: whether `scores` is more than the inner products.
    """

    users: Floats
    items: Floats
    fold_in: Callable[[Interactions], Floats]
    report: FitReport
    scores: Scores
    full: bool = False


@dataclass(frozen=True)
class Job:
    """What a model is fitted to. features: of items, for text models; None where there are none."""

    train: Interactions
    valid: Interactions | None
    options: Options
    features: pa.Table | None = None
    say: Say | None = None


def fit(
    name: str,
    train: Interactions,
    valid: Interactions | None = None,
    options: Options | None = None,
    *,
    features: pa.Table | None = None,
    say: Say | None = None,
) -> Fitted:
    """Fits the model of a name; see MODELS.

    Raises InputError for an unknown name, options that the model does not take, or data that it
    cannot learn from; MissingDependencyError for a model whose libraries are not installed.
    """
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}; expected one of {', '.join(MODELS)}")
    options = options or Options()
    maker, taken = MODELS[name]
    given = {key for key, value in asdict(options).items() if value is not None}
    if odd := sorted(given - {*taken.split(), "seed", "threads"}):
        raise InputError(f"{name} takes no {odd[0].replace('_', '-')}")
    return maker(Job(train, valid, options, features, say))


def _popular(job: Job) -> Fitted:
    counts = job.train.item_counts.astype(np.float32)[:, None]

    def one(rows: Interactions) -> Floats:
        return np.ones((rows.n_users, 1), np.float32)

    return _fitted(job, "most-popular", {}, one(job.train), counts, one)


def _gfcf(job: Job) -> Fitted:
    clock, wall = time.process_time(), time.perf_counter()
    given = job.options.among(recsys_gfcf.Filters)
    if "dimensions" not in given:  # a filter that passes most of a small graph filters nothing
        eighth = min(job.train.n_users, job.train.n_items) // 8
        given["dimensions"] = min(recsys_gfcf.Filters.dimensions, max(1, eighth))
    filters = recsys_gfcf.Filters(**given)
    model = recsys_gfcf.fit(job.train, filters)
    users, items = model.fold_in(job.train), model.item_vectors()
    made = _fitted(job, "gf-cf", asdict(filters), users, items, model.fold_in)
    made.report.cpu_seconds = time.process_time() - clock
    made.report.wall_seconds = time.perf_counter() - wall
    return replace(made, scores=model.scores(job.train), full=True)


def _fitted(
    job: Job,
    name: str,
    config: dict[str, Any],
    users: Floats,
    items: Floats,
    fold_in: Callable[[Interactions], Floats],
) -> Fitted:
    """Of a model that nothing was trained for."""
    config = config | {"seed": job.options.seed}
    report = FitReport(name, config, job.train.data_hash, versions=versions())
    return Fitted(users, items, fold_in, report, inner_products(users, items))


def _settings(job: Job, lr: float) -> Any:
    from .recsys_pairwise import Settings
    from .recsys_trainer import Training

    default = Training(lr=lr, epochs=1000 if job.valid is not None else UNWATCHED)
    training = replace(default, **job.options.among(Training))
    return replace(Settings(training=training), **job.options.among(Settings))


def _bpr(job: Job) -> Fitted:
    from . import recsys_bpr
    from .recsys_pairwise import train

    settings = _settings(job, 1e-3)
    model = recsys_bpr.build(job.train, settings)
    report = train(model, job.train, job.valid, settings, name="bpr-mf", say=job.say)
    users, items = model.vectors()
    return Fitted(
        users,
        items,
        lambda rows: recsys_bpr.fold_in(items, rows),
        report,
        inner_products(users, items),
    )


def _lightgcn(job: Job) -> Fitted:
    from .recsys_lightgcn import LightGcn
    from .recsys_pairwise import train

    settings = _settings(job, 2e-3)
    model = LightGcn(job.train, settings)
    report = train(model, job.train, job.valid, settings, name="lightgcn", say=job.say)
    users, items = model.vectors()
    counts = job.train.item_counts
    return Fitted(
        users,
        items,
        lambda rows: model.fold_in(rows, counts),
        report,
        inner_products(users, items),
    )


def _ngcf(job: Job) -> Fitted:
    from .recsys_ngcf import Ngcf
    from .recsys_pairwise import train

    settings = _settings(job, 1e-3)
    model = Ngcf(job.train, settings)
    report = train(model, job.train, job.valid, settings, name="ngcf", say=job.say)
    users, items = model.vectors()
    return Fitted(users, items, model.fold_in, report, inner_products(users, items))


def _text(job: Job) -> Fitted:
    clock, wall = time.process_time(), time.perf_counter()
    settings = recsys_text.Settings(**job.options.among(recsys_text.Settings))
    items = recsys_text.vectors(job.features, settings)
    users = recsys_text.profiles(items, job.train)
    made = _fitted(
        job, "text", asdict(settings), users, items, lambda r: recsys_text.profiles(items, r)
    )
    made.report.cpu_seconds = time.process_time() - clock
    made.report.wall_seconds = time.perf_counter() - wall
    return made


def _aligned(job: Job) -> Fitted:
    from . import recsys_alignment
    from .recsys_trainer import Training

    given = job.options.among(recsys_text.Settings)
    texts = recsys_text.vectors(job.features, recsys_text.Settings(**given))
    default = Training(lr=1e-3, batch=256, epochs=50 if job.valid is not None else 10)
    training = replace(default, **job.options.among(Training))
    settings = replace(
        recsys_alignment.Settings(training=training),
        **job.options.among(recsys_alignment.Settings),
    )
    model, report = recsys_alignment.train(texts, job.train, job.valid, settings, say=job.say)
    report.config |= {"text": given}
    users, items = model.users(job.train), model.items()
    return Fitted(users, items, model.users, report, inner_products(users, items))


_TRAINED = "lr batch epochs eval_every patience seconds"
_RANKING = f"dimensions decay way negatives {_TRAINED}"
# Models by name: who fits them, and the options that they take.
MODELS: dict[str, tuple[Callable[[Job], Fitted], str]] = {
    "most-popular": (_popular, ""),
    "gf-cf": (_gfcf, "dimensions weight"),
    "bpr-mf": (_bpr, _RANKING),
    "lightgcn": (_lightgcn, f"layers {_RANKING}"),
    "ngcf": (_ngcf, f"layers {_RANKING}"),
    "text": (_text, "text encoder dimensions"),
    "aligned": (_aligned, f"text encoder dimensions temperature {_TRAINED}"),
}
