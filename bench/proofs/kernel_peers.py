"""faiss's scans of codes, to compare kernels with: one thread, settings from peers.toml."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.bench.engines.faiss_base import load_faiss
from fanns.bench.engines.registry import settings_file
from fanns.bench.proofs.turns import Call

Floats = NDArray[np.float32]
_TRAINED_ON = 20_000  # rows; 4-bit codebooks have 16 entries


def options(name: str) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """The build options and the settings of a section [kernels.<name>] of peers.toml."""
    sections = tomllib.loads(settings_file().read_text(encoding="utf-8"))["kernels"]
    section = sections[name]
    return section.get("build", {}), section["settings"]


@contextmanager
def one_core() -> Iterator[None]:
    """This process on one core, where the system can do that, and libraries on one thread."""
    from threadpoolctl import threadpool_limits

    faiss = load_faiss()
    threads = faiss.omp_get_max_threads()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    faiss.omp_set_num_threads(1)
    try:
        if cores:
            os.sched_setaffinity(0, {max(cores)})
        with threadpool_limits(1):
            yield
    finally:
        if cores:
            os.sched_setaffinity(0, cores)
        faiss.omp_set_num_threads(threads)


def pq_calls(vectors: Floats, queries: Floats, k: int) -> dict[str, Call]:
    """IndexPQFastScan over unit vectors: a call searches all the queries at once."""
    faiss, dims = load_faiss(), vectors.shape[1]
    build, settings = options("faiss-pq")
    parts = sub_quantizers(dims, build["dims_per_code"])
    index = faiss.IndexPQFastScan(dims, parts, 4, faiss.METRIC_INNER_PRODUCT, build["bbs"])
    index.train(vectors[:_TRAINED_ON])
    index.add(vectors)
    return {f"faiss IndexPQFastScan{_named(one)}": _search(index, queries, k) for one in settings}


def sub_quantizers(dimensions: int, per_code: int) -> int:
    """How many sub-quantizers: one for so many dimensions, or a few less until they divide."""
    parts = max(1, dimensions // per_code)
    while dimensions % parts:
        parts -= 1
    return parts


def rabitq_calls(vectors: Floats, queries: Floats, k: int) -> dict[str, Call]:
    """IndexRaBitQFastScan over unit vectors, the rotation left out in its favour."""
    faiss, (_, settings) = load_faiss(), options("faiss-rabitq")
    index = faiss.IndexRaBitQFastScan(vectors.shape[1], faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:_TRAINED_ON])
    index.add(vectors)

    def search(qb: int) -> Call:
        def call() -> object:
            index.qb = qb
            return index.search(queries, k)

        return call

    return {f"faiss IndexRaBitQFastScan{_named(one)}": search(one["qb"]) for one in settings}


def flat_calls(keys: Floats, queries: Floats, k: int) -> dict[str, Call]:
    """IndexFlatIP: every row compared in full."""
    faiss = load_faiss()
    index = faiss.IndexFlatIP(keys.shape[1])
    index.add(keys)
    return {"faiss IndexFlatIP": _search(index, queries, k)}


def _search(index: Any, queries: Floats, k: int) -> Call:
    return lambda: index.search(queries, k)


def _named(setting: Mapping[str, Any]) -> str:
    told = ", ".join(f"{name} {value}" for name, value in setting.items())
    return f", {told}" if told else ""
