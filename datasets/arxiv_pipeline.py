"""From arXiv's metadata to a benchmark of filtered search, in stages that survive a kill.

records      sources to shards of one record form                       arxiv_reading
attributes   the eleven attributes and more; papers held out            arxiv_base
vectors      of the base papers                                         embedding
queries      search phrases of held-out papers, or a file, embedded     arxiv_queries
answers      query sets and their exact filtered nearest items          arxiv_answers
output       items, manifest, card, other layouts, moved into place     arxiv_output

While under way all lies in the folder `work` of the output. Every file there is whole or absent,
and a stage passes over what is there: a run that was killed and is started again with the same
settings gives the same bytes as one that was not. What depends on the time or the machine goes to
`say`, never into files.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from fanns.errors import InputError

from . import (
    arxiv_answers,
    arxiv_base,
    arxiv_output,
    arxiv_queries,
    arxiv_reading,
    card_comparison,
    data_card,
    dataset,
    products,
    run_files,
)
from .arxiv_attributes import omitted
from .arxiv_filters import EM_COLUMN, EMIS_COLUMN, R_COLUMN
from .arxiv_records import Source
from .arxiv_snapshot import digest
from .ground_truth import DEPTH, MEMORY
from .vector_makers import SIMULATED, VectorMaker

WORK, LOCK = "work", "work.lock"
# Columns that the query sets filter by, and those of queries.parquet that they give.
_FILTERED = (EM_COLUMN, R_COLUMN, EMIS_COLUMN)
_RESERVED = ("set", "embedding", "where", "params", "matches")
EDITION = "fanns.datasets.arxiv_pipeline, edition 1"
Report = Callable[[str, int, int], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What a run is asked.

    Attributes:
        sources: see `arxiv_sources.find`. output: the folder of the data set.
        limit: items at most. sample: share of the records to take, by a hash of their ids.
        strict: stop at the first broken record. seed: of all that is drawn.
        queries: how many search phrases, one of each paper held out; None: 1,000, or an eleventh of
            the papers where that is less. query_file: the user's own; then none is held out.
        text: what is embedded of a paper, one of `arxiv_base.TEXTS`.
        layouts: other forms to write as well, of `arxiv_output.LAYOUTS`. depth: answers a query.
        memory_limit: bytes, for exact answers. truth_gpu: whether they come from a GPU; None:
            where faiss sees one. They are the same.
        like: the folder of a data set that the card compares this one with.
        overwrite: replace a data set at the output. shard_rows: records of a shard.
    """

    sources: tuple[Source, ...]
    output: Path
    limit: int | None = None
    sample: float = 1.0
    strict: bool = False
    seed: int = 0
    queries: int | None = None
    query_file: Path | None = None
    text: str = arxiv_base.TEXTS[0]
    layouts: tuple[str, ...] = ()
    depth: int = DEPTH
    memory_limit: int = MEMORY
    truth_gpu: bool | None = None
    like: Path | None = None
    overwrite: bool = False
    shard_rows: int = arxiv_reading.SHARD_ROWS


def make(settings: Settings, maker: VectorMaker, say: Say, report: Report | None = None) -> Path:
    """Makes the data set, or goes on with it where an earlier run ended; the output.

    Raises InputError for sources or settings that cannot be used, an output that is taken, and the
    work of a run with other settings; MissingDependencyError for a GPU that is asked for and not
    there; StorageError where something cannot be written.
    """
    run = _Run(settings, maker, say, report)
    run.look()
    with _alone(settings.output):
        run.begin()
        made = run.work / "made"
        if not (run.work / arxiv_output.READY).exists():
            run.write(made)
        arxiv_output.put_in_place(made, settings.output)
        shutil.rmtree(run.work)
    return settings.output


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """No other run on this output meanwhile. Raises InputError when there is one."""
    lock = FileLock(output / LOCK, timeout=0)
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise InputError(f"another run is under way in {output}: wait for it to end") from error
    except OSError as error:
        raise run_files.failure(f"make {output}", error) from error
    try:
        yield
    finally:
        lock.release()
        (output / LOCK).unlink(missing_ok=True)


class _Run:
    """One run: its settings, its folder, and whom to tell."""

    def __init__(
        self, settings: Settings, maker: VectorMaker, say: Say, report: Report | None
    ) -> None:
        self.settings, self.maker, self.say, self.report = settings, maker, say, report
        self.work = settings.output / WORK
        self.own_queries: pa.Table | None = None
        self.told: dict[str, Any] = {}

    def look(self) -> None:
        """Looks at all that the run depends on, before anything is written."""
        asked = self.settings
        if asked.query_file is not None:
            self.own_queries = arxiv_queries.from_file(asked.query_file, asked.queries)
        arxiv_output.check_free(asked.output, {WORK, LOCK}, asked.overwrite)
        products.engine(asked.truth_gpu)
        if asked.like is not None:
            card_comparison.check(asked.like)
        self.told = self._stamp()

    def begin(self) -> None:
        """Marks the run's folder, or sees that it is the one to go on with."""
        try:
            self.work.mkdir(exist_ok=True)
        except OSError as error:
            raise run_files.failure(f"make {self.work}", error) from error
        try:
            run_files.stamp(self.work, self.told)
        except InputError:
            if not self.settings.overwrite:
                raise
            shutil.rmtree(self.work)
            self.work.mkdir()
            run_files.stamp(self.work, self.told)

    def write(self, made: Path) -> None:
        """All stages, up to a whole data set in the folder `made`."""
        asked, folder = self.settings, self.work
        made.mkdir(exist_ok=True)
        reading = self._records()
        held = 0 if self._given() else arxiv_base.queries_of(reading.rows, asked.queries)
        base = arxiv_base.split(reading, folder, held, asked.seed, self.report)
        self.say(f"{base.rows:,} papers, {held:,} more held out for queries")
        shards = self.maker.documents(base.shards, self._texts, folder, self.say, self.report)
        queries = self._queries(base)
        self._answers(base, shards, queries, made)
        simulated = self.maker.name == SIMULATED
        metadata = {b"fanns.vectors" if simulated else b"fanns.model": self.maker.name.encode()}
        items = made / "items.parquet"
        arxiv_output.write_items(items, base.shards, shards, metadata, self.report)
        arxiv_output.write_skipped(made / arxiv_output.SKIPPED, reading.skipped)
        self._seal(made, reading, base, queries.num_rows)

    def _records(self) -> arxiv_reading.Reading:
        asked = self.settings
        own, without = self.own_queries, frozenset[str]()
        limit = asked.limit
        if not self._given():
            limit = arxiv_base.records_for(asked.limit, asked.queries)
        if own is not None and "id" in own.column_names:
            without = frozenset(map(str, own["id"].to_pylist()))
        wanted = arxiv_reading.Wanted(limit, asked.sample, asked.seed, asked.strict, without)
        reading = arxiv_reading.read(
            asked.sources, self.work, wanted, shard_rows=asked.shard_rows, report=self.report
        )
        for line in arxiv_reading.told(reading):
            self.say(line)
        return reading

    def _texts(self, papers: pa.Table) -> list[str]:
        return arxiv_base.texts_of(papers, self.settings.text)

    def _given(self) -> pa.Table | None:
        """Queries that need no paper held out: the user's, or those that come with the vectors."""
        if self.own_queries is not None:
            return self.own_queries
        return self.maker.asked(self.settings.queries or arxiv_base.DEFAULT_QUERIES)

    def _queries(self, base: arxiv_base.Base) -> pa.Table:
        """The queries with their vectors, kept in the run's folder."""
        path = self.work / "asked.parquet"
        if not path.exists():
            asked = self._given()
            if asked is None:
                held = base.held_out
                asked = arxiv_base.phrases(held, held.num_rows, self.settings.seed)
            vectors = (
                dataset.vectors(asked)
                if asked is not self.own_queries and "embedding" in asked.column_names
                else self.maker.queries(asked["text"].to_pylist())
            )
            flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
            column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
            kept = [name for name in asked.column_names if name not in _RESERVED]
            run_files.write_table(path, asked.select(kept).append_column("embedding", column))
        return pq.read_table(path)

    def _answers(
        self, base: arxiv_base.Base, shards: list[Path], queries: pa.Table, made: Path
    ) -> None:
        asked, targets = self.settings, [made / "queries.parquet", made / "truth.parquet"]
        if all(path.exists() for path in targets):
            return
        names = [
            name for name in ("id", *_FILTERED) if name in pq.read_schema(base.shards[0]).names
        ]
        columns = pa.concat_tables([pq.read_table(path, columns=names) for path in base.shards])
        found = arxiv_answers.answer(
            shards,
            columns,
            columns["id"],
            queries.drop_columns(["embedding"]),
            dataset.vectors(queries),
            seed=asked.seed,
            k=asked.depth,
            memory_limit=asked.memory_limit,
            gpu=asked.truth_gpu,
            work=self.work,
            report=self.report,
        )
        for path, table in zip(targets, found, strict=True):
            run_files.write_table(path, table)

    def _seal(
        self, made: Path, reading: arxiv_reading.Reading, base: arxiv_base.Base, queries: int
    ) -> None:
        """Manifest, layouts and card."""
        asked = self.settings
        missing = dict.fromkeys(omitted(reading.columns), "no source has the column")
        notes = [f"text: {asked.text}", *arxiv_reading.told(reading)]
        notes.append(f"{base.held_out.num_rows:,} papers held out for {queries:,} queries")
        dataset.seal(
            made,
            seed=asked.seed,
            source=f"arXiv metadata: {', '.join(source.name for source in asked.sources)}",
            model=self.maker.name,
            metric="cosine",
            transforms=[EDITION],
            details={"encoder": self.maker.identity(), "omitted": missing, "text": asked.text},
        )
        for layout in asked.layouts:
            arxiv_output.write_layout(made, layout, self.report)
        data_card.write_card(
            made, omitted=missing, notes=notes, reference=asked.like, report=self.report
        )

    def _stamp(self) -> dict[str, Any]:
        """All that the output depends on."""
        asked = self.settings
        return {
            "edition": EDITION,
            "sources": [source.identity() for source in asked.sources],
            "limit": asked.limit,
            "sample": asked.sample,
            "seed": asked.seed,
            "queries": asked.queries,
            "query file": None if asked.query_file is None else digest(asked.query_file),
            "text": asked.text,
            "layouts": list(asked.layouts),
            "depth": asked.depth,
            "like": None if asked.like is None else asked.like.name,
            "shard rows": asked.shard_rows,
            "model": self.maker.identity(),
        }
