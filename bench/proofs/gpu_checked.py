"""A small index searched on a GPU in every way, to be run under a checker of memory accesses.

python -m fanns.bench.proofs.gpu_checked ROWS DIMENSIONS
"""

from __future__ import annotations

import sys

import numpy as np

import fanns
from fanns.datasets import arxiv_like
from fanns.datasets.dataset import vectors

DONE = "all searches answered"
BATCHES = (1, 5, 64)


def main(rows: int, dimensions: int) -> None:
    """Scans in full and of codes, walks, filters of one kind and of each query's own."""
    items = arxiv_like.items(rows, dimensions)
    every = np.ascontiguousarray(vectors(arxiv_like.queries(max(BATCHES), dimensions)))
    with fanns.Index.build(items, calibration="default") as index:
        index.to("cuda")
        categories = [f"cs.{name}" for name in ("LG", "CV", "AI", "CL")]
        for size in BATCHES:
            queries, each = every[:size], np.resize(categories, size).tolist()
            for recall in (0.95, 1.0):
                index.search(queries, 10, recall=recall)
                for where, params in (
                    ("primary_category = :c", {"c": categories[0]}),
                    ("list_contains(categories, :c)", {"c": fanns.each(each)}),
                    ("submitted_date < DATE '1900-01-01'", None),
                ):
                    index.search(queries, 10, where, params, recall=recall)
    print(DONE)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
