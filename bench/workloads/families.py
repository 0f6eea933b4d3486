"""The workloads that have a name, made when they are first asked for.

quick                       10,000 simulated rows of 64 dimensions, 300 queries, 8 cells
arxiv-100k, arxiv-25k, ...  so many records of a folder of real ones, up to 1,000 queries
synthetic-<rows>x<dims>     simulated, as synthetic-200000x384, 1,000 queries

arXiv's and the simulated ones have the fixed list `grid.SHORT`; under `full` all have
every cell that the data can give.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import platformdirs

from fanns.bench.workloads import arxiv, making, synthetic
from fanns.bench.workloads.board import Corpus
from fanns.bench.workloads.grid import QUICK, SHORT, Asked, asked, grid
from fanns.bench.workloads.truth import Report
from fanns.errors import InputError

QUERIES = 1_000
_ARXIV = re.compile(r"arxiv-([1-9]\d{0,3})k")
_SYNTHETIC = re.compile(r"synthetic-([1-9]\d{0,8})x([1-9]\d{0,3})")


class Recipe(NamedTuple):
    """How a named workload is made: its data, what tells that data from other data, and its short
    list of cells.
    """

    corpus: Callable[[], Corpus]
    origin: Callable[[], str]
    short: tuple[str, ...]

    def cells(self, full: bool) -> list[Asked]:
        return grid() if full else [asked(name) for name in self.short]


def bench_folder() -> Path:
    """Where workloads and built indexes are kept: FANNS_BENCH_DIR, else the user's cache."""
    given = os.environ.get("FANNS_BENCH_DIR")
    return Path(given) if given else platformdirs.user_cache_path("fanns") / "bench"


def is_name(name: str) -> bool:
    """Whether there is a workload of this name."""
    return name == "quick" or bool(_ARXIV.fullmatch(name) or _SYNTHETIC.fullmatch(name))


def recipe(name: str, data: Path | None = None) -> Recipe:
    """How the workload of a name is made. data: the folder of arXiv records, which else is
    FANNS_BENCH_DATA. Raises InputError for a name that there is not, or without a folder.
    """
    if name == "quick":
        return Recipe(lambda: synthetic.corpus(10_000, 64, 300), _simulated, QUICK)
    if found := _ARXIV.fullmatch(name):
        given = _records(data)
        if given is None:
            raise InputError(
                f"{name} is made from arXiv records: name the folder that holds "
                "papers-*.parquet and queries.parquet by --data or FANNS_BENCH_DATA"
            )
        rows = 1_000 * int(found[1])
        return Recipe(
            lambda: arxiv.corpus(given, rows, QUERIES), lambda: arxiv.origin(given), SHORT
        )
    if found := _SYNTHETIC.fullmatch(name):
        size = int(found[1]), int(found[2])
        return Recipe(lambda: synthetic.corpus(*size, QUERIES), _simulated, SHORT)
    raise InputError(
        f"no workload is called {name!r}: expected quick, arxiv-<thousands>k such as arxiv-100k, "
        "synthetic-<rows>x<dimensions>, or the folder of one"
    )


def named(
    name: str,
    full: bool = False,
    data: Path | None = None,
    *,
    say: Callable[[str], None] | None = None,
    report: Report | None = None,
) -> Path:
    """The folder of a named workload, which is made if it is not there, or of another edition
    or other data. One of real records stays as it is where no folder of them is given.

    Args:
        full: every cell that the data can give, in a workload of its own, `<name>-full`.
        data: the folder of real records, see `recipe`.
        say: gets a line for each cell that is left out; report: gets stage, done and total.
    """
    own = f"{name}-full" if full else name
    folder = bench_folder() / "workloads" / own
    made = _transforms(folder) if is_name(name) else []
    keep = _ARXIV.fullmatch(name) and _records(data) is None
    if keep and made[:1] == [making.EDITION]:
        return folder
    found = recipe(name, data)
    origin = found.origin()
    if made == [making.EDITION, origin]:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{own}-", dir=folder.parent))
    try:
        corpus, kept = making.plan(
            found.corpus(), synthetic.DECLARATION, found.cells(full), say or _silent, report
        )
        making.make(work / own, corpus, kept, own, report=report, origin=origin)
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(work / own, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _records(data: Path | None) -> Path | None:
    """The folder of arXiv records: the one that is given, else FANNS_BENCH_DATA."""
    given = data or os.environ.get("FANNS_BENCH_DATA")
    return Path(given) if given else None


def _simulated() -> str:
    return synthetic.EDITION


def _transforms(folder: Path) -> list[str]:
    """The edition of the filters in a folder, and of its data; empty where there is no finished
    workload.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return list(manifest["transforms"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _silent(message: str) -> None:
    return None
