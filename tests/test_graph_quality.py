"""What the graph that a device makes is worth, beside the one that is built on the CPU.

By the same steps in plain loops, which give the same links (test_graph_building_cuda.py), as no
device is needed for that and the simulator could not make so many.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fanns.clusters import cluster_order
from fanns.codes import Int8Codes
from fanns.kernels.distance import COSINE
from fanns.kernels.jit import Array
from fanns.paths import NO_BUDGET
from fanns.paths.graph import TWO_HOP, GraphParameters, GraphPath
from fanns.paths.graph_builder import build_links
from fanns.selection import Selection
from fanns.vectors import DenseVectors
from tests.graph_reference import reference_links

K = 10
BEAMS = (12, 16, 20, 24, 32, 40, 50, 64, 80, 100, 130, 160)


def vectors_of(file: Path) -> Array:
    column = pq.read_table(file, columns=["embedding"])["embedding"].combine_chunks()
    rows = column.flatten().to_numpy().reshape(len(column), -1)
    return np.asarray(rows, np.float32)


def curve(path: GraphPath, queries: Array, truth: Array, chosen: Selection) -> tuple[Array, Array]:
    """Codes compared a query, and recall, for each beam."""
    codes, recalls = [], []
    for beam in BEAMS:
        found = path.search(queries, chosen, K, GraphParameters(TWO_HOP, beam, beam), NO_BUDGET)
        same = [len(set(a) & set(b)) for a, b in zip(found.rows, truth, strict=True)]
        codes.append(float(found.work[:, 0].mean()))
        recalls.append(sum(same) / truth.size)
    return np.array(codes), np.array(recalls)


@pytest.mark.slow
def test_the_same_recall_for_the_same_work(arxiv_folder: Path) -> None:
    """25,000 abstracts, 1,000 titles: recall where both walks compare as many codes."""
    vectors = vectors_of(arxiv_folder / "papers-0.parquet")
    queries = vectors_of(arxiv_folder / "queries.parquet")
    order, offsets, centroids = cluster_order(vectors, "cosine", 0, None)
    vectors = np.ascontiguousarray(vectors[order])
    store = DenseVectors.from_array(vectors, COSINE, None)
    ties = np.arange(store.n, dtype=np.int64)
    given: Any = (store, Int8Codes.build(store, None), ties, offsets, centroids)
    graphs = [
        GraphPath.build(*given, threads=None, links_of=links_of)
        for links_of in (build_links, reference_links)
    ]
    for share in (1.0, 0.1):
        mask = np.asarray(np.random.default_rng(0).random(store.n) < share)
        away = np.where(mask, -(queries @ vectors.T), np.inf)
        truth = np.argpartition(away, K, axis=1)[:, :K]
        chosen = Selection.from_mask(mask)
        curves = [curve(graph, queries, truth, chosen) for graph in graphs]
        (codes, recalls), (other_codes, other_recalls) = curves
        low, high = max(codes[0], other_codes[0]), min(codes[-1], other_codes[-1])
        work = np.linspace(low, high, 200)
        gain = np.interp(work, other_codes, other_recalls) - np.interp(work, codes, recalls)
        assert gain.mean() > -0.001 and gain.min() > -0.004, (share, curves)
