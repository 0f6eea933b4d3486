"""An index as one Parquet file that any reader of Parquet opens and `importing` restores.

Columns are the id, the vectors and all attribute and stored columns, in their own types. The
schema's metadata has, besides what `fanns build` looks for, under `fanns.index` a JSON object:

    format    1
    settings  the recipe of the index (building.Recipe.to_json)
    next_id   the first id that was never given, where ids are generated, else 0
    transforms  what vectors went through that are in the file, where they did (bundles.to_json)

and a checksum of the whole file (export_checksum.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fanns import export_checksum
from fanns.building import Recipe
from fanns.bundles import to_json
from fanns.errors import IndexExistsError, InputError
from fanns.files import lock_file, process_lives, reported, sync_directory
from fanns.ingest import SIMULATED
from fanns.listing import Columns
from fanns.prepared import Snapshot

METADATA = b"fanns.index"
FORMAT = 1
# Rows read back, and written as one row group, at a time.
BATCH_ROWS = 10_000

Progress = Callable[[str, int, int], None]


def export_index(
    snapshot: Snapshot,
    recipe: Recipe,
    next_id: int,
    path: str | Path,
    *,
    batch_rows: int,
    overwrite: bool,
    held: bool,
    progress: Progress | None,
) -> int:
    """Write all live rows of a state, in the order given, all or nothing; their number.

    Raises: as `Index.export`.
    """
    target = Path(os.path.abspath(path))
    if type(batch_rows) is not int or batch_rows < 1:
        raise InputError(f"batch_rows is {batch_rows!r}, expected a number of rows")
    if not recipe.keep_originals and not held:
        raise InputError(
            "this index was built with keep_originals=False: the vectors as given are gone; "
            "export(held=True), --held in the shell, writes those that it holds, which restore it"
        )
    check_target(target, overwrite)
    recipe = of_state(recipe, snapshot)
    schema = schema_of(snapshot, recipe, next_id)
    done = 0
    with written_beside(target, overwrite) as file, _parquet(file, schema, recipe) as write:
        for batch in batches(snapshot, recipe, schema, batch_rows):
            write(batch)
            done += batch.num_rows
            if progress is not None:
                progress("export", done, snapshot.rows)
    return done


def of_state(recipe: Recipe, snapshot: Snapshot) -> Recipe:
    """The recipe with the columns of a state: another thread may be changing them."""
    return replace(
        recipe,
        schema=snapshot.schema,
        attributes=tuple(name for name in snapshot.schema if name not in recipe.stored),
        stored=tuple(name for name in snapshot.schema if name in recipe.stored),
    )


def schema_of(snapshot: Snapshot, recipe: Recipe, next_id: int) -> pa.Schema:
    """The columns of the file, and how the index is restored."""
    settings = {"format": FORMAT, "settings": recipe.to_json(), "next_id": next_id}
    if recipe.transforms:
        settings["transforms"] = to_json(recipe.transforms.bundle())
    metadata: dict[bytes, bytes] = {METADATA: json.dumps(settings).encode("ascii")}
    if recipe.model == SIMULATED:
        metadata[b"fanns.vectors"] = SIMULATED.encode()
    elif recipe.model is not None:
        metadata[b"fanns.model"] = recipe.model.encode("utf-8", "replace")
    item = pa.from_numpy_dtype(np.dtype(vector_type(snapshot, recipe)))
    key = pa.int64() if recipe.id_kind == "int" else pa.string()
    fields = [
        pa.field(recipe.id_name, key),
        pa.field(recipe.vector_name, pa.list_(item, recipe.dimensions)),
        *(pa.field(name, kind.to_arrow()) for name, kind in recipe.schema.items()),
    ]
    return pa.schema(fields, metadata)


def vector_type(snapshot: Snapshot, recipe: Recipe) -> str:
    """The type that vectors are written in: as given, or what can hold all that stand for them."""
    if recipe.keep_originals:
        return recipe.dtype
    reduced = any(segment.reduction is not None for segment in snapshot.segments)
    return "float32" if reduced else "float16"


def batches(
    snapshot: Snapshot, recipe: Recipe, schema: pa.Schema, batch_rows: int
) -> Iterator[pa.Table]:
    """All live rows in the order given, so many at a time."""
    source = Columns(snapshot, recipe.id_name)
    dtype = vector_type(snapshot, recipe)
    names = [recipe.id_name, *recipe.schema]
    for number, segment in enumerate(snapshot.segments):
        live = segment.given_live()
        segment.will_need_originals()
        for start in range(0, len(live), batch_rows):
            rows = np.ascontiguousarray(live[start : start + batch_rows])
            table = source.columns_at(np.full(len(rows), number, np.int32), rows, names)
            flat = pa.array(segment.originals(rows).astype(dtype, copy=False).ravel())
            vectors = pa.FixedSizeListArray.from_arrays(flat, recipe.dimensions)
            table = table.append_column(recipe.vector_name, vectors)
            yield table.select(schema.names).cast(schema)


@contextlib.contextmanager
def _parquet(file: Any, schema: pa.Schema, recipe: Recipe) -> Iterator[Callable[[pa.Table], None]]:
    """Writes row groups, and the footer when all went well."""
    import pyarrow.parquet as pq

    # Vectors and ids hardly repeat: a dictionary of them is only tried in vain.
    paths = [f"{n}.list.element" if kind.is_list else n for n, kind in recipe.schema.items()]
    writer = pq.ParquetWriter(
        file, schema, compression="zstd", use_dictionary=paths, write_page_checksum=True
    )
    try:
        yield writer.write_table
        writer.add_key_value_metadata(export_checksum.ENTRY)
        writer.close()
        export_checksum.seal(file)
    except pa.ArrowException as error:
        raise InputError(f"a column cannot be written as Parquet: {error}") from error
    finally:
        # After a failure the footer goes into a file that is removed.
        with contextlib.suppress(OSError, pa.ArrowException):
            writer.close()


@contextlib.contextmanager
def written_beside(target: Path, overwrite: bool) -> Iterator[Any]:
    """A file beside `target` that takes its name, durably, when the body is done.

    A failure removes it. What a killed process left, `.NAME.PID-....exporting`, goes as well: no
    process of that number lives, and none has it locked (one of another container would).
    """
    own = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.exporting")
    with reported("export to", target):
        remove_left(target)
        file = open(own, "x+b")  # noqa: SIM115
        try:
            with file:
                lock_file(file)
                yield file
                file.flush()
                os.fsync(file.fileno())
            check_target(target, overwrite)
            os.replace(own, target)
        except BaseException:
            with contextlib.suppress(OSError):
                own.unlink(missing_ok=True)
            raise
        sync_directory(target.parent)


def remove_left(target: Path) -> None:
    """Removes what dead processes left of exports to `target`."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)-[0-9a-f]{{8}}\.exporting")
    for entry in list(target.parent.iterdir()):
        match = pattern.fullmatch(entry.name)
        if match is None or entry.is_symlink() or process_lives(int(match[1])):
            continue
        with contextlib.suppress(OSError), open(entry, "rb") as file:
            lock_file(file)
            entry.unlink()


def check_target(target: Path, overwrite: bool) -> None:
    """Raises unless the file may be written."""
    with reported("export to", target):
        if not os.path.lexists(target):
            return
        if target.is_dir():
            raise InputError(f"{target} is a folder, expected the path of a Parquet file")
        if not overwrite:
            raise IndexExistsError(f"{target} exists; choose another path, or pass overwrite=True")
