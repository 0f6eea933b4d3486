"""What `exporting` wrote, taken back; its settings count only as far as they were checked."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from fanns import export_checksum
from fanns.building import Recipe, prepare_data
from fanns.bundles import from_json
from fanns.errors import CorruptIndexError, InputError
from fanns.exporting import FORMAT, METADATA
from fanns.ingest import Ingest
from fanns.paths.column_path import LABEL
from fanns.recipe_types import check_types
from fanns.tables import read_table
from fanns.transforms import NONE, Transforms


def import_data(path: str | Path, threads: int | None) -> tuple[Recipe, Ingest, int]:
    """The recipe and the rows of an exported index, and the next id where ids are generated.

    Raises:
        InputError: the file is not Parquet, no export, was altered, or its settings do not fit its
            columns.
    """
    file = Path(os.path.abspath(path))
    settings, next_id = read_settings(file)
    try:
        export_checksum.check(file)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error}") from error
    table = read_table(file)
    try:
        recipe, ingest = _restored(settings, table, threads)
        if settings.generated:
            check_generated(ingest.ids, next_id)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return recipe, ingest, next_id


def check_generated(ids: np.ndarray | pa.Array, next_id: int) -> None:
    """Raises InputError unless all were given before `next_id`."""
    if not isinstance(ids, np.ndarray):
        raise InputError("ids that are generated are integers")
    if len(ids) and (ids.min() < 0 or ids.max() >= next_id):
        raise InputError(f"ids that are generated are from 0 to next_id, {next_id}")


def read_settings(file: Path) -> tuple[Recipe, int]:
    """The recipe that an exported file has in its metadata, and the next id.

    Raises:
        InputError: it is not Parquet, or there is no such thing, or it makes no sense.
    """
    import pyarrow.parquet as pq

    if not file.is_file():
        raise InputError(f"no such file: {file}")
    try:
        metadata = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowException, ValueError) as error:
        raise InputError(f"{file} cannot be read as Parquet: {error}") from error
    text = metadata.get(METADATA)
    if text is None:
        raise InputError(
            f"{file} was not written by fanns export: fanns build makes an index of it"
        )
    try:
        return parse(text)
    except InputError as error:
        raise InputError(f"{file}: its settings cannot be used: {error}") from error


def parse(text: bytes) -> tuple[Recipe, int]:
    """The settings under `fanns.index`.

    Raises:
        InputError: they are not what `exporting` writes.
    """
    try:
        told = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"no JSON ({type(error).__name__})") from error
    if not isinstance(told, dict) or type(told.get("format")) is not int:
        raise InputError("no object with a format")
    if told["format"] != FORMAT:
        raise InputError(f"format {told['format']}, this fanns reads {FORMAT}; upgrade fanns")
    next_id, raw = told.get("next_id"), told.get("settings")
    if type(next_id) is not int or not 0 <= next_id < 2**62:
        raise InputError("next_id is not a number of rows")
    if not isinstance(raw, dict):
        raise InputError("settings is no object")
    check_types(raw)
    held = told.get("transforms")
    transforms = NONE if held is None else Transforms.restore(from_json(held))
    try:
        return Recipe.from_json(raw, transforms), next_id
    except CorruptIndexError as error:
        raise InputError(str(error)) from error


def _restored(settings: Recipe, table: pa.Table, threads: int | None) -> tuple[Recipe, Ingest]:
    recipe, ingest = prepare_data(
        _typed(table, settings),
        vector=settings.vector_name,
        id=settings.id_name,
        metric=settings.metric,
        attributes=settings.attributes,
        store=settings.stored,
        model=settings.model,
        seed=settings.seed,
        threads=threads,
        keep_originals=settings.keep_originals,
        reduce=settings.reduce,
        calibration=settings.calibration,
        bits=settings.bits,
        range_index=settings.graphs.ranges,
        label_index=settings.graphs.of(LABEL),
    )
    told = (settings.dimensions, settings.id_kind, dict(settings.schema))
    if (recipe.dimensions, recipe.id_kind, dict(recipe.schema)) != told:
        raise InputError("its columns are not those that its settings tell of")
    if settings.keep_originals and recipe.dtype != settings.dtype:
        raise InputError(f"vectors are {recipe.dtype}, its settings say {settings.dtype}")
    # Vectors that only stand for those given may be of another type than those to come.
    recipe = replace(
        recipe,
        dtype=settings.dtype,
        graphs=settings.graphs,
        generated=settings.generated,
        schema=settings.schema,
        model=settings.model,
        transforms=settings.transforms,
    )
    return recipe, ingest


def _typed(table: pa.Table, settings: Recipe) -> pa.Table:
    """Columns in the types that they had: Parquet has no timestamps in seconds."""
    for place, name in enumerate(table.column_names):
        kind = settings.schema.get(name)
        if kind is None:
            continue
        try:
            column = table[name].cast(kind.to_arrow())
        except pa.ArrowException as error:
            raise InputError(f"column {name!r} is not of type {kind}: {error}") from error
        table = table.set_column(place, name, column)
    return table
