"""Exact answers at size: every query of 20,000 real papers, a process that is killed, memory."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fanns.bench.workloads import synthetic
from fanns.datasets import arxiv_answers, arxiv_like
from fanns.datasets.arxiv_filters import QuerySet, paper_sets
from fanns.datasets.dataset import vectors
from fanns.datasets.exact import Truth, distances

ROUNDING = 2e-6  # of distances that faiss computes in float32


def faiss_agrees(
    base: NDArray[np.float32], queries: NDArray[np.float32], one: QuerySet, truth: Truth, k: int
) -> int:
    """How many queries have the very rows that faiss finds, in its order. All others must differ
    in rows alone that are as near, up to the rounding of float32.
    """
    faiss = pytest.importorskip("faiss")
    flat = faiss.IndexFlatIP(base.shape[1])
    flat.add(base / np.linalg.norm(base, axis=1, keepdims=True))  # the papers' are so nearly
    equal = 0
    for query, vector in enumerate(queries):
        mask = np.ones(len(base), bool)
        if one.passing is not None:
            mask = one.passing.block(slice(query, query + 1), slice(0, len(base)))[0]
        bits = np.packbits(mask, bitorder="little")
        selector = faiss.IDSelectorBitmap(len(base), faiss.swig_ptr(bits))
        _, found = flat.search(vector[None], k, params=faiss.SearchParameters(sel=selector))
        rows = found[0][found[0] >= 0]
        own = slice(truth.offsets[query], truth.offsets[query + 1])
        assert len(rows) == own.stop - own.start == min(k, mask.sum())
        assert mask[truth.rows[own]].all()
        exactly = distances(base[rows], vector)
        assert np.abs(np.sort(exactly) - truth.distances[own]).max(initial=0.0) < ROUNDING
        equal += rows.tolist() == truth.rows[own].tolist()
    return equal


def answered(records: pa.Table, queries: pa.Table, k: int) -> tuple[list[QuerySet], list[Truth]]:
    """The paper's sets over records, and the answers that the tables of a data set hold."""
    attributes, asked = synthetic.attributes(records), vectors(queries)
    ids = pa.array(np.arange(records.num_rows))
    sets = paper_sets(attributes, len(asked))
    _, truth = arxiv_answers.answer(
        vectors(records), attributes, ids, pa.table({"text": queries["title"]}), asked, k=k
    )
    counts = np.bincount(np.asarray(truth["query"]), minlength=len(sets) * len(asked))
    offsets = np.concatenate([[0], counts.cumsum()])
    rows, nearness = np.asarray(truth["id"]), np.asarray(truth["distance"])
    found = []
    for number in range(len(sets)):
        own = offsets[number * len(asked) : (number + 1) * len(asked) + 1]
        part = slice(own[0], own[-1])
        found.append(Truth(rows[part], rows[part], nearness[part], own - own[0]))
    return sets, found


def test_faiss_finds_the_same_papers_in_a_small_set(
    arxiv_sample: pa.Table, arxiv_queries: pa.Table
) -> None:
    records, queries = arxiv_sample.slice(0, 3_000), arxiv_queries.slice(0, 60)
    for one, truth in zip(*answered(records, queries, 50), strict=True):
        assert faiss_agrees(vectors(records), vectors(queries), one, truth, 50) >= 55


@pytest.mark.slow
def test_faiss_finds_the_same_papers_for_every_query(
    arxiv_table: pa.Table, arxiv_queries: pa.Table
) -> None:
    """20,000 papers, 1,000 queries, the three sets and none: 4,000 lists of 100."""
    records = arxiv_table.slice(0, 20_000)
    for one, truth in zip(*answered(records, arxiv_queries, 100), strict=True):
        equal = faiss_agrees(vectors(records), vectors(arxiv_queries), one, truth, 100)
        print(f"{one.name}: {equal} of {arxiv_queries.num_rows} lists are the same in every place")
        assert equal >= 0.98 * arxiv_queries.num_rows


WORKER = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
from fanns.bench.workloads import synthetic
from fanns.datasets import arxiv_answers, ground_truth
from fanns.datasets.dataset import vectors
folder, work, out = map(Path, sys.argv[1:4])
ground_truth._MOST = 512
import functools
ground_truth.solve = functools.partial(ground_truth.solve, save_every=0.0)
items, asked = pq.read_table(folder / "items.parquet"), pq.read_table(folder / "asked.parquet")
print("ready", flush=True)
queries, truth = arxiv_answers.answer(
    [folder / "items.parquet"], synthetic.attributes(items), items["id"],
    asked.select(["text"]), vectors(asked), k=30, work=work,
)
pq.write_table(queries, out / "queries.parquet")
pq.write_table(truth, out / "truth.parquet")
"""


def worker(*folders: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, *map(str, folders)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """Killed at random moments, until a run comes to its end."""
    pq.write_table(arxiv_like.items(20_000, 64), tmp_path / "items.parquet", row_group_size=3_000)
    pq.write_table(arxiv_like.queries(200, 64), tmp_path / "asked.parquet")
    for name in ("whole", "killed"):
        (tmp_path / name / "work").mkdir(parents=True)
    started = time.monotonic()
    process = worker(tmp_path, tmp_path / "whole" / "work", tmp_path / "whole")
    process.communicate()
    lasted = time.monotonic() - started
    assert process.returncode == 0
    rng, kills = random.Random(4), 0
    while True:
        process = worker(tmp_path, tmp_path / "killed" / "work", tmp_path / "killed")
        try:
            process.communicate(timeout=lasted * rng.uniform(0.02, 0.3))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
    assert process.returncode == 0 and kills >= 2
    for name in ("queries.parquet", "truth.parquet"):
        one, two = (
            hashlib.sha256((tmp_path / run / name).read_bytes()).hexdigest()
            for run in ("whole", "killed")
        )
        assert one == two


MEMORY = """
import json, re, sys, threading, time
from pathlib import Path
import numpy as np
import pyarrow as pa
from fanns.datasets import ground_truth
from fanns.datasets.passing import Between, Equal
path, rows, count, limit = Path(sys.argv[1]), *map(int, sys.argv[2:])
def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
rng = np.random.default_rng(1)
queries = rng.standard_normal((count, 512), np.float32)
column = pa.chunked_array([pa.array(rng.integers(0, 50, rows))])
filters = {
    "none": None,
    "em": Equal(column, rng.integers(0, 50, count).tolist()),
    "r": Between(column, [3] * count, [20] * count),
}
queries @ queries.T
before, most, running = anonymous(), [0], True
def watch():
    while running:
        most[0] = max(most[0], anonymous())
        time.sleep(0.002)
thread = threading.Thread(target=watch)
thread.start()
ground_truth.solve([path], queries, filters, memory_limit=limit)
running = False
thread.join()
print(json.dumps(most[0] - before))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("limit", [200, 400])
def test_memory_stays_within_its_limit(limit: int, tmp_path: Path) -> None:
    """200 MB of float16 vectors in one row group, which alone is as much."""
    rows, dimensions = 200_000, 512
    rng = np.random.default_rng(0)
    parts: list[Any] = [
        rng.standard_normal((20_000, dimensions), np.float32).astype(np.float16)
        for _ in range(rows // 20_000)
    ]
    flat = pa.array(np.concatenate(parts).reshape(-1))
    table = pa.table({"embedding": pa.FixedSizeListArray.from_arrays(flat, dimensions)})
    path = tmp_path / "embeddings-00000.parquet"
    pq.write_table(table, path, row_group_size=rows, use_dictionary=False)
    command = [sys.executable, "-c", MEMORY, path, rows, 1_000, limit << 20]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    grown = json.loads(done.stdout)
    print(f"{grown >> 20} MiB of {limit}")
    assert grown < limit << 20
