"""The synthetic twin as a source of records, and its simulated vectors as those of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fanns.errors import InputError

from . import arxiv_like, run_files
from .arxiv_records import Broken, Raw
from .vector_makers import SIMULATED, STAGE, Floats, Report, Say, Texts

SYNTHETIC = "synthetic"


class Synthetic:
    """The records of `arxiv_like`: so many, of a seed; their vectors are `Simulated`'s."""

    name = SYNTHETIC

    def __init__(self, rows: int, dimensions: int, seed: int) -> None:
        self.rows, self.dimensions, self.seed = rows, dimensions, seed

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "rows": self.rows, "dimensions": self.dimensions}

    def read(self, after: int = 0) -> Iterator[Raw | Broken]:
        row = 0
        for batch in arxiv_like.batches(self.rows, self.dimensions, self.seed):
            skipped = min(max(after - row, 0), batch.num_rows)
            records = arxiv_like.as_records(batch.slice(skipped))
            for number, fields in enumerate(records.to_pylist(), start=row + skipped + 1):
                yield Raw(number, fields)
            row += batch.num_rows


class Simulated:
    """The vectors that belong to the records of `arxiv_like`, which texts have no part in."""

    name = SIMULATED

    def __init__(self, rows: int, dimensions: int, seed: int) -> None:
        self.rows, self.dimensions, self.seed = rows, dimensions, seed

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "rows": self.rows, "dimensions": self.dimensions}

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
                kind = pa.list_(pa.field("element", pa.float32()), self.dimensions)
                flat = pa.array(np.concatenate(rows))
                column = pa.FixedSizeListArray.from_arrays(flat, type=kind)
                run_files.write_table(path, pa.table({"embedding": column}))
            if report is not None:
                report(STAGE, number + 1, len(made))
        return made

    def asked(self, count: int) -> pa.Table | None:
        return arxiv_like.queries(count, self.dimensions, self.seed).replace_schema_metadata(None)

    def queries(self, texts: Sequence[str]) -> Floats:
        raise InputError(
            "simulated vectors have no place for a text: a file of queries needs a --model"
        )

    def _vectors(self) -> Iterator[tuple[str, Floats]]:
        for batch in arxiv_like.batches(self.rows, self.dimensions, self.seed):
            flat = np.asarray(batch.column("embedding").flatten())
            yield from zip(
                batch.column("id").to_pylist(), flat.reshape(-1, self.dimensions), strict=True
            )


def _next(stream: Iterator[tuple[str, Floats]], key: str) -> Floats:
    """The vector of a record, those of records before it passed over."""
    return next(vector for own, vector in stream if own == key)
