"""The synthetic twin as a source of records, and its simulated vectors as those of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fanns.errors import InputError

from . import arxiv_like, run_files
from . import spectrum as spectra
from .arxiv_records import Broken, Raw
from .spectrum import Spectrum
from .vector_makers import SIMULATED, STAGE, Floats, Report, Say, Texts

SYNTHETIC = "synthetic"
DIMENSIONS = 384


@dataclass(frozen=True)
class Twin:
    """Which simulated papers: so many, of a seed, with vectors of a spectrum (None: a model's)."""

    rows: int
    dimensions: int = DIMENSIONS
    seed: int = 0
    spectrum: Spectrum | None = None

    def identity(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "edition": arxiv_like.EDITION,
            "rows": self.rows,
            "dimensions": self.dimensions,
        }
        if self.spectrum is not None:
            shares = hashlib.sha256(self.spectrum.shares.tobytes()).hexdigest()
            found["spectrum"] = f"{shares[:16]} about {self.spectrum.mean:.6g}"
        return found

    def batches(self) -> Iterator[pa.RecordBatch]:
        return arxiv_like.batches(self.rows, self.dimensions, self.seed, self.spectrum)


def spectrum_of(folder: Path) -> Spectrum:
    """The spectrum of a data set's vectors: items.parquet, or the first of papers-*.parquet.

    Raises InputError for a folder that has neither.
    """
    files = [folder / "items.parquet", *sorted(folder.glob("papers-*.parquet"))]
    if found := [path for path in files if path.is_file()]:
        return spectra.of_file(found[0])
    raise InputError(f"{folder} has no items.parquet and no papers-*.parquet")


class Synthetic:
    """The records of a twin; their vectors are `Simulated`'s."""

    name = SYNTHETIC

    def __init__(self, twin: Twin) -> None:
        self.twin = twin

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, **self.twin.identity()}

    def read(self, after: int = 0) -> Iterator[Raw | Broken]:
        row = 0
        for batch in self.twin.batches():
            skipped = min(max(after - row, 0), batch.num_rows)
            records = arxiv_like.as_records(batch).slice(skipped).to_pylist()
            for number, fields in enumerate(records, start=row + skipped + 1):
                yield Raw(number, fields)
            row += batch.num_rows


class Simulated:
    """The vectors that belong to the records of a twin, which texts have no part in."""

    name = SIMULATED

    def __init__(self, twin: Twin) -> None:
        self.twin = twin

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, **self.twin.identity()}

    def documents(
        self,
        shards: Sequence[Path],
        text_of: Texts,
        folder: Path,
        say: Say,
        report: Report | None = None,
    ) -> list[Path]:
        """By the records' ids, which come in the generator's order; texts have no part in it."""
        made = [run_files.shard(folder, STAGE, number) for number in range(len(shards))]
        if all(path.exists() for path in made):
            return made
        stream = self._vectors()
        for number, (source, path) in enumerate(zip(shards, made, strict=True)):
            wanted = pq.read_table(source, columns=["id"])["id"].to_pylist()
            rows = [_next(stream, key) for key in wanted]
            if not path.exists():
                kind = pa.list_(pa.field("element", pa.float32()), self.twin.dimensions)
                flat = pa.array(np.concatenate(rows))
                column = pa.FixedSizeListArray.from_arrays(flat, type=kind)
                run_files.write_table(path, pa.table({"embedding": column}))
            if report is not None:
                report(STAGE, number + 1, len(made))
        return made

    def asked(self, count: int) -> pa.Table | None:
        twin = self.twin
        made = arxiv_like.queries(count, twin.dimensions, twin.seed, twin.spectrum)
        return made.replace_schema_metadata(None)

    def queries(self, texts: Sequence[str]) -> Floats:
        raise InputError(
            "simulated vectors have no place for a text: a file of queries needs a --model"
        )

    def _vectors(self) -> Iterator[tuple[str, Floats]]:
        for batch in self.twin.batches():
            flat = np.asarray(batch.column("embedding").flatten())
            vectors = flat.reshape(-1, self.twin.dimensions)
            yield from zip(batch.column("id").to_pylist(), vectors, strict=True)


def _next(stream: Iterator[tuple[str, Floats]], key: str) -> Floats:
    """The vector of a record, those of records before it passed over."""
    return next(vector for own, vector in stream if own == key)
