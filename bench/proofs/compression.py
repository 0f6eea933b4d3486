"""What compressed embedding tables cost and give: matrix factorisation at several budgets.

Every kind of table stands for the items in BPR matrix factorisation, trained alike; users keep a
full table. Told are numbers held, bytes as the index holds them, recall and NDCG by brute force
over the decoded table, and the time of a filtered query through the index, which decodes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import fanns
from fanns.datasets import recsys_bpr, recsys_pairwise, recsys_sampling
from fanns.datasets.recsys_interactions import Interactions
from fanns.datasets.recsys_metrics import evaluate, inner_products
from fanns.datasets.recsys_table import EmbeddingTable, FrequencyStats, Store
from fanns.datasets.recsys_table_selected import SelectedTable
from fanns.datasets.recsys_table_sparse import SparseTable
from fanns.datasets.recsys_tables import KINDS, table_for
from fanns.datasets.recsys_torch import torch
from fanns.datasets.recsys_trainer import Training
from fanns.errors import InputError
from fanns.stores import NativeStore

BUDGETS = (1.0, 0.5, 0.1, 1 / 16)  # numbers of the items' table, as shares of a full one
SEARCHED = 0.4  # of the epochs of a selected table go to the search
PASSING = 0.1  # of the items, in the timed queries
HELD_OUT = 0.1  # of the interactions, which the choice of dimensions learns from

Say = Any


@dataclass(frozen=True)
class Row:
    """One table at one budget.

    Attributes:
        share: the budget. params: numbers held. nbytes: in the index, codes and all.
        recall, ndcg: at 20, over all items but those of training. seconds: of processor, to train.
    """

    kind: str
    share: float
    params: int
    nbytes: int
    recall: float
    ndcg: float
    seconds: float


@dataclass(frozen=True)
class Trained:
    """A table after training, and the users that go with it."""

    row: Row
    table: EmbeddingTable
    users: NDArray[np.float32]


def rows(
    train: Interactions,
    test: Interactions,
    settings: recsys_pairwise.Settings,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    budgets: Sequence[float] = BUDGETS,
    say: Say = None,
) -> Iterator[Trained]:
    """Every kind at every budget that it can keep to, one after the other."""
    stats = item_stats(train)
    for share in budgets:
        for kind in kinds:
            try:
                made = one(kind, share, train, test, settings, stats)
            except InputError as error:
                if say is not None:
                    say(f"{kind} at {share:g}: {error}")
                continue
            if say is not None:
                say(str(asdict(made.row)))
            yield made


def one(
    kind: str,
    share: float,
    train: Interactions,
    test: Interactions,
    settings: recsys_pairwise.Settings,
    stats: FrequencyStats,
) -> Trained:
    """Trains one table; raises InputError where its kind has none so small."""
    width, seed = settings.dimensions, settings.training.seed
    budget = int(share * train.n_items * width)
    table = table_for(kind, train.n_items, width, budget, stats, std=settings.spread, seed=seed)
    model = recsys_bpr.build(train, settings, table)
    clock = time.process_time()
    if isinstance(table, SparseTable):
        steps = -(-len(train) // settings.training.batch) * settings.training.epochs
        table.period, table.horizon = max(1, steps // 50), max(1, steps * 3 // 4)
    if isinstance(table, SelectedTable):
        _select(model, table, train, settings)
    else:
        recsys_pairwise.train(model, train, None, settings, name=kind)
    seconds = time.process_time() - clock
    users, items = model.vectors()
    found = evaluate(inner_products(users, items), test, seen=train, ks=(20,))
    store = table.to_store()
    row = Row(
        kind, share, table.num_params, store.nbytes, found["recall@20"], found["ndcg@20"], seconds
    )
    return Trained(row, table, users)


def filtered_micros(store: Store, users: NDArray[np.float32], *, k: int = 20) -> float:
    """Median microseconds of exact searches by users, one at a time, under a filter.

    The filter passes a tenth of the items, drawn from a seed.
    """
    rows = len(store)
    kept = np.random.default_rng(0).random(rows) < PASSING
    columns: dict[str, Any] = {"id": np.arange(rows), "kept": kept}
    if isinstance(store, NativeStore):
        index = fanns.Index.build(
            pa.table(columns), vectors=store, metric="ip", calibration="default"
        )
    else:
        flat = pa.FixedSizeListArray.from_arrays(pa.array(store.reshape(-1)), store.shape[1])
        items = pa.table(columns | {"embedding": flat})
        index = fanns.Index.build(items, metric="ip", calibration="default")
    times = []
    for user in users:
        clock = time.perf_counter_ns()
        index.search(user, k=k, where="kept", exact=True)
        times.append(time.perf_counter_ns() - clock)
    return float(np.median(times[len(times) // 10 :])) / 1000


def page(found: Sequence[Row], micros: Mapping[tuple[str, float], float]) -> str:
    """A table in Markdown: a line for each budget and kind, the best recall first."""
    lines = [
        "| budget | table | numbers | bytes in the index | recall@20 | NDCG@20 | us a query |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(found, key=lambda row: (-row.share, -row.recall)):
        lines.append(
            f"| {row.share:.4g} | {row.kind} | {row.params:,} | {row.nbytes:,} | {row.recall:.4f} "
            f"| {row.ndcg:.4f} | {micros[row.kind, row.share]:.0f} |"
        )
    return "\n".join(lines)


def item_stats(train: Interactions) -> FrequencyStats:
    """How often items come up, and with which users."""
    order = np.argsort(train.indices, kind="stable")
    starts = np.concatenate(([0], np.cumsum(train.item_counts)))
    return FrequencyStats.of_columns(starts, train.users[order])


def _select(
    model: Any, table: SelectedTable, train: Interactions, settings: recsys_pairwise.Settings
) -> None:
    """The search on most of the data, judged by the rest; then what is kept learns from all."""
    random = np.random.default_rng(settings.training.seed)
    held = random.random(len(train)) < HELD_OUT
    rest, judged = train.select(~held), train.select(held)
    batches = _forever(judged, settings.training.batch, random)
    table.watch(lambda: model.loss(*next(batches)))
    epochs = max(1, round(settings.training.epochs * SEARCHED))
    table.search_epochs = epochs
    table.warm_steps = -(-len(rest) // settings.training.batch) * epochs // 2
    for data, count in ((rest, epochs), (train, settings.training.epochs - epochs)):
        if count:
            training: Training = replace(settings.training, epochs=count)
            part = replace(settings, training=training)
            recsys_pairwise.train(model, data, None, part, name="selected")


def _forever(
    data: Interactions, batch: int, random: np.random.Generator
) -> Iterator[tuple[Any, ...]]:
    while True:
        for triples in recsys_sampling.epoch(data, batch, random):
            yield tuple(torch.from_numpy(np.asarray(part)) for part in triples)
