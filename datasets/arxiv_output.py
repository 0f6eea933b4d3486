"""The finished data set: items joined with their vectors, manifest, card, other layouts; in place.

Everything is written into a folder of the run and moved to the output at the end, the manifest
last: an output without a manifest is none, and one that was there before stays until then.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fanns.errors import InputError, StorageError

from . import arxiv_layout, data_card, dataset, run_files
from .arxiv_reading import Skipped

STAGE = "items"
SKIPPED = "skipped.jsonl"
MANIFEST = "manifest.json"
LAYOUTS = (arxiv_layout.STAGE,)
READY = "ready.json"  # in the run's folder: all is written, and being moved; names what
# All that an output may hold.
OWN = frozenset(
    {*(f"{name}.parquet" for name in dataset.TABLES), MANIFEST, SKIPPED, *LAYOUTS}
    | {data_card.CARD, data_card.FIGURES, "encoder"}
)
Report = Callable[[str, int, int], None]


def write_items(
    path: Path,
    attributes: Sequence[Path],
    vectors: Sequence[Path],
    metadata: Mapping[bytes, bytes],
    report: Report | None = None,
) -> Path:
    """items.parquet of shards of attributes and shards of vectors of the same rows."""
    if path.exists():
        return path
    kind = pq.read_schema(vectors[0]).field("embedding").type
    target = pa.schema(
        [*_plain(pq.read_schema(attributes[0])), pa.field("embedding", kind)], dict(metadata)
    )
    with (
        run_files.replacing(path) as partial,
        pq.ParquetWriter(partial, target, compression="zstd") as writer,
    ):
        for done, (own, other) in enumerate(zip(attributes, vectors, strict=True), start=1):
            table, column = pq.read_table(own), pq.read_table(other, columns=["embedding"])
            if table.num_rows != column.num_rows:
                raise StorageError(
                    f"{other} has {column.num_rows} vectors for the {table.num_rows} rows of {own}"
                )
            joined = table.append_column("embedding", column["embedding"])
            writer.write_table(joined.replace_schema_metadata(target.metadata))
            if report is not None:
                report(STAGE, done, len(attributes))
    return path


def write_skipped(path: Path, skipped: Sequence[Skipped]) -> None:
    """A line of JSON for every record that was skipped: source, line, reason; no file for none."""
    if not skipped:
        return
    with run_files.replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for one in skipped:
            file.write(json.dumps(one._asdict(), ensure_ascii=False) + "\n")


def write_layout(folder: Path, layout: str, report: Report | None = None) -> None:
    """The data set in a folder once more, below it, in a layout of others; one of LAYOUTS."""
    arxiv_layout.write(folder, folder / layout, report)


def put_in_place(made: Path, output: Path) -> None:
    """Moves what was made to the output, in the place of what was there; may be called once more
    where it was interrupted. Raises StorageError.
    """
    listed = made.parent / READY
    if not listed.exists():
        whole = (path.name for path in made.iterdir() if path.suffix != ".partial")
        run_files.write_json(listed, sorted(whole))
    if not (made / MANIFEST).exists():
        return  # it goes last
    names = json.loads(listed.read_text(encoding="utf-8"))
    try:
        (output / MANIFEST).unlink(missing_ok=True)
        for stale in sorted(OWN.difference(names)):
            _remove(output / stale)
        for name in sorted(names, key=lambda name: (name == MANIFEST, name)):
            if (made / name).exists():
                _remove(output / name)
                os.replace(made / name, output / name)
    except OSError as error:
        raise run_files.failure(f"write {output}", error) from error


def check_free(output: Path, under_way: set[str], overwrite: bool) -> None:
    """Raises InputError when the output holds a data set, without `overwrite`, or other files.

    under_way: what a run has there until it ends.
    """
    if not output.exists():
        return
    if not output.is_dir():
        raise InputError(f"{output} is a file: the output is a folder")
    names = {path.name for path in output.iterdir()}
    if MANIFEST in names:
        if not overwrite and not names & under_way:
            raise InputError(f"{output} holds a data set: choose another output, or --overwrite")
    elif names - OWN - under_way:
        raise InputError(
            f"{output} holds other files, {min(names - OWN - under_way)}: choose an empty folder"
        )


def _plain(schema: pa.Schema) -> list[pa.Field]:
    return [schema.field(name) for name in schema.names]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
