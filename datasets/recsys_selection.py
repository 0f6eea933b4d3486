"""Which fields a click model needs: orders of fields by many selectors, judged by one protocol.

    task = split(table, labels, training=Training(batch=1024))
    found = compare(task, {"permutation": permutation})     # see `recsys_selectors`
    found[0].order, found[0].aukc

The protocol of Jia et al., "ERASE: benchmarking feature selection methods for deep recommender
systems" (2024): rows in a random order, 7:2:1 for training, validation and test; a selector sees
the former two; then, for every k, a model is trained anew on the first k fields of its order, and
its AUC on the test part is a point of a curve.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fanns.errors import InputError

from .recsys_ctr import ClickModel, Clicks, fit_clicks, measure
from .recsys_dcn import Dcn
from .recsys_fields import Field, fit_fields
from .recsys_trainer import Training

SHUFFLE = 43  # seed of the order of rows, as in the authors' code
SHARES = (0.7, 0.2)  # of training and validation; the rest is for the test
DIMENSIONS = 8  # of the vectors of fields

Say = Callable[[str], None]
Make = Callable[[Sequence[Field], int], ClickModel]


@dataclass(frozen=True)
class Task:
    """What selectors and models are given.

    Attributes:
        model: makes an untrained one of fields and a seed. training: of each.
    """

    fields: Sequence[Field]
    train: Clicks
    valid: Clicks
    test: Clicks
    model: Make
    training: Training
    seed: int = 0

    @property
    def names(self) -> list[str]:
        """Of the fields."""
        return [field.name for field in self.fields]

    def fitted(self, names: Sequence[str] | None = None) -> ClickModel:
        """A model trained on some fields, or on all."""
        chosen = [one for one in self.fields if names is None or one.name in names]
        model = self.model(chosen, self.seed)
        fit_clicks(model, self.train, self.valid, self.training)
        return model


# Importances float64[fields]: the larger, the more a field is needed.
Selector = Callable[[Task], NDArray[np.float64]]


@dataclass(frozen=True)
class Judged:
    """What a selector found, and how good its first fields are.

    Attributes:
        importances: by field, in the selector's own measure, the most important first.
        counts, aucs: the AUC on the test part of a model on the first `counts[i]` fields.
        aukc: the area under that curve. cpu_seconds: of the selector, models of the curve aside.
    """

    selector: str
    importances: dict[str, float]
    counts: tuple[int, ...]
    aucs: tuple[float, ...]
    aukc: float
    cpu_seconds: float

    @property
    def order(self) -> list[str]:
        """The fields, the most important first."""
        return list(self.importances)


def split(
    table: pa.Table,
    labels: NDArray[np.float32],
    *,
    training: Training,
    model: Make | None = None,
    seed: int = 0,
) -> Task:
    """The parts of a table whose columns are the fields, of which the training part tells values.

    labels: 0 or 1, [n]. model: by default a DCN-V2 of DIMENSIONS. Raises InputError for fewer than
    two columns, for labels that are something else, or a part that has one kind of them only.
    """
    if table.num_columns < 2:
        raise InputError(f"{table.num_columns} columns: there is nothing to select from")
    labels = np.asarray(labels)
    if labels.shape != (len(table),):
        raise InputError(f"labels: expected {len(table)}, one a row, got shape {labels.shape}")
    order = np.random.default_rng(SHUFFLE).permutation(len(table))
    ends = [round(len(order) * share) for share in np.cumsum(SHARES)]
    rows = np.split(order, ends)
    fields = fit_fields(table.take(pa.array(rows[0])))
    train, valid, test = (
        Clicks.of(fields, table.take(pa.array(part)), labels[part]) for part in rows
    )
    for name, part in (("training", train), ("validation", valid), ("test", test)):
        if len(np.unique(part.labels)) < 2:
            raise InputError(f"the {name} part ({len(part)} rows) has labels of one kind only")
    return Task(fields, train, valid, test, model or dcn, training, seed)


def dcn(fields: Sequence[Field], seed: int) -> ClickModel:
    """The model that orders are judged by, unless told otherwise."""
    return Dcn(fields, DIMENSIONS, seed=seed)


def compare(
    task: Task,
    selectors: Mapping[str, Selector],
    counts: Sequence[int] | None = None,
    *,
    say: Say | None = None,
) -> list[Judged]:
    """What each selector is worth, the best first.

    counts: of fields, where the curve is measured; by default 1 to all. All of them is always a
    point. Orders that begin with the same fields share the model.

    Raises InputError for counts beyond the fields, or where all fields together tell nothing.
    """
    every = len(task.fields)
    points = sorted({*(range(1, every + 1) if counts is None else counts), every})
    if points[0] < 1 or points[-1] > every:
        raise InputError(f"counts: expected 1 to {every} fields, got {points}")
    reached: dict[frozenset[str], float] = {}

    def judge(names: Sequence[str]) -> float:
        key = frozenset(names)
        if key not in reached:
            reached[key] = measure(task.fitted(names), task.test)["auc"]
            if say is not None:
                say(f"{len(names)} of {every} fields: AUC {reached[key]:.4f}")
        return reached[key]

    found = []
    for name, selector in selectors.items():
        if say is not None:
            say(f"{name} orders {every} fields")
        begun = time.process_time()
        importances = ordered(task.names, selector(task))
        took = time.process_time() - begun
        order = list(importances)
        aucs = tuple(judge(order[:k]) for k in points)
        area = aukc(points, aucs)
        found.append(Judged(name, importances, tuple(points), aucs, area, took))
    return sorted(found, key=lambda one: -one.aukc)


def ordered(names: Sequence[str], importances: NDArray[np.float64]) -> dict[str, float]:
    """Importances by name, the largest first."""
    places = np.argsort(-importances, kind="stable")
    return {names[place]: float(importances[place]) for place in places}


def aukc(counts: Sequence[int], aucs: Sequence[float]) -> float:
    """The area under the share of fields against the share of what all of them reach.

    counts: ascending, the last of them all K fields. The curve goes through (k / K, (AUC_k - 1/2) /
    (AUC_K - 1/2)), from (0, 0) on, as a model without fields has an AUC of 1/2; straight lines join
    the points. 1/2 is a curve that rises evenly; more than 1 needs fields that do harm.

    Raises InputError where all fields reach no more than 1/2.
    """
    whole = aucs[-1] - 0.5
    if whole <= 0:
        raise InputError(
            f"a model on all {counts[-1]} fields has an AUC of {aucs[-1]:.3f}: it learned nothing, "
            "so that no field can be told from another; train longer, or give more rows"
        )
    shares = np.array([0, *counts]) / counts[-1]
    gains = np.array([0.0, *(value - 0.5 for value in aucs)]) / whole
    return float(np.trapezoid(gains, shares))
