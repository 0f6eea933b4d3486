"""The page of compressed tables, on a shop small enough for a test."""

import numpy as np
import pytest

pytest.importorskip("torch")

from fanns.bench.proofs import compression
from fanns.datasets import recsys_synthetic
from fanns.datasets.recsys_pairwise import Settings
from fanns.datasets.recsys_splits import ratio
from fanns.datasets.recsys_tables import KINDS
from fanns.datasets.recsys_trainer import Training


def test_every_table_trains_in_bpr_and_is_told_with_its_costs() -> None:
    """Each learns to rank: better than chance by far, and within its budget."""
    split = ratio(recsys_synthetic.make(200, 160, groups=6, seed=0).interactions, seed=0)
    train, test = split.train.take("fit"), split.test.take("measure")
    settings = Settings(dimensions=8, training=Training(lr=2e-2, batch=512, epochs=10, threads=1))
    said: list[str] = []
    made = list(compression.rows(train, test, settings, budgets=(0.5,), say=said.append))
    assert [one.row.kind for one in made] == [kind for kind in KINDS if kind != "full"]
    assert sum("full at 0.5: a full table" in line for line in said) == 1
    chance = 20 / train.n_items
    for one in made:
        assert one.row.params <= one.row.share * train.n_items * 8
        floor = 1.0 if one.row.kind == "quotient-concat" else 1.3
        assert one.row.recall > floor * chance, one.row
    micros = {(one.row.kind, one.row.share): 1.0 for one in made}
    told = compression.page([one.row for one in made], micros).splitlines()
    assert len(told) == 2 + len(made)
    store = made[-1].table.to_store()
    assert compression.filtered_micros(store, made[-1].users[:10]) > 0
    assert np.isfinite(made[-1].users).all()
