"""Building an index of Parquet files that are larger than memory: segment by segment.

All rows are looked at once, in batches, so that what is wrong with them is said before anything is
built. Then consecutive rows become segments, each within the limit, and each is durable, in a
folder beside the target, before the next is begun: a build that was interrupted goes on there.
"""

from __future__ import annotations

import contextlib
import gc
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fanns.building import Recipe, make_segment, prepare_data
from fanns.errors import InputError, StorageError
from fanns.ingest import Ingest
from fanns.memory_limit import give_back, parse_size
from fanns.parquet_source import ParquetSource
from fanns.persistence import addition, recipe_in
from fanns.probing import check_limit, probe
from fanns.reading_rows import read_rows
from fanns.segment_building import Machine
from fanns.storage import Directory
from fanns.surveying import survey
from fanns.threads import available_threads
from fanns.unfinished import BUILD, Request, State, check_same, finished_rows

Progress = Callable[[str, int, int], None]


def source_of(data: Any) -> ParquetSource:
    """The Parquet files that `data` names.

    Raises:
        InputError: it names none: only files can be read piece by piece.
    """
    source = ParquetSource.of(data)
    if source is None:
        raise InputError(
            "memory_limit is for Parquet files, given by path(s), folder, pattern or as a dataset; "
            f"got {type(data).__name__}, which is in memory already"
        )
    return source


def prepare_rows(
    data: Any, options: Mapping[str, Any], progress: Progress | None
) -> tuple[Recipe, Ingest | list[Ingest]]:
    """The recipe and all rows; those of Parquet files as a list of one, that nobody else needs.

    Raises:
        InputError: data or options cannot be used.
    """
    source = ParquetSource.of(data)
    if source is None:
        return prepare_data(data, **options)
    recipe = survey(source, options, budget(None), secrets.randbits(63), progress)
    rows = [read_rows(source, recipe, 0, source.rows)]
    give_back()
    return recipe, rows


def build_streamed(
    data: Any,
    options: Mapping[str, Any],
    path: str | Path | None,
    overwrite: bool,
    queries: np.ndarray | None,
    memory_limit: int | str,
    progress: Progress | None,
    machine: Machine | None = None,
) -> Path:
    """Build the index at `path`, or go on with its build; see `Index.build`. Gives its path.

    Raises:
        InputError: data or options cannot be used, the limit is too low, or an unfinished build
            was of others. IndexExistsError. IndexLockedError: another process builds it.
    """
    limit = parse_size(memory_limit)
    if path is None:
        raise InputError("memory_limit needs a path: an index in memory has no limit")
    source = source_of(data)
    request = Request.of(source, options, queries)
    with Directory.resume(path, overwrite=overwrite) as directory:
        try:
            state = _state(directory, source, request, options, limit, progress)
        except BaseException:
            # What stands in the way of giving up must not hide what went wrong.
            with contextlib.suppress(StorageError):
                if not directory.segments and State.read(directory) is None:
                    directory.give_up()
            raise
        _build_segments(directory, source, state, queries, progress, machine)
        directory.set_settings(state.recipe.to_json())
        directory.commit_new()
        return directory.path


def _state(
    directory: Directory,
    source: ParquetSource,
    request: Request,
    options: Mapping[str, Any],
    limit: int,
    progress: Progress | None,
) -> State:
    """The state to go on from, written down."""
    threads = options["threads"] or available_threads()
    before = State.read(directory)
    if before is not None:
        check_same(before.request, request, directory)
        recipe = replace(before.recipe, threads=threads)
        most = before.segment_rows if before.limit == limit else None
    elif directory.segments:  # whole, but its name was not given yet
        finished_rows(directory, request)
        recipe, most = replace(recipe_in(directory), threads=threads), None
        return State(request, recipe, source.rows, limit, 0)
    else:
        recipe, most = survey(source, options, budget(limit), secrets.randbits(63), progress), None
    if progress is not None:
        progress("measure", 0, 1)
    found = probe(source, recipe)
    allowed = check_limit(found, recipe, source.rows, limit)
    state = State(request, recipe, source.rows, limit, min(most or allowed, allowed))
    if state.segment_rows != most:
        state.write(directory)
    return state


def budget(limit: int | None) -> int:
    """Bytes for comparing ids."""
    return 1 << 30 if limit is None else max(16 << 20, limit // 8)


def bounds(start: int, rows: int, most: int) -> list[tuple[int, int]]:
    """Rows start..rows in as few equal runs of at most `most` as it takes; of no rows one."""
    found: list[tuple[int, int]] = []
    while start < rows or (rows == 0 and not found):
        runs = max(1, -(-(rows - start) // most))
        stop = start - (start - rows) // runs
        found.append((start, stop))
        start = stop
    return found


def _build_segments(
    directory: Directory,
    source: ParquetSource,
    state: State,
    queries: np.ndarray | None,
    progress: Progress | None,
    machine: Machine | None,
) -> None:
    """Build and commit what is not done yet."""
    done = finished_rows(directory, state.request)
    if done == source.rows and directory.segments:
        return
    runs = bounds(done, source.rows, state.segment_rows)
    whole = len(directory.segments) + len(runs)
    for start, stop in runs:
        told = None
        if progress is not None:
            told = partial(_tell, progress, f"segment {len(directory.segments) + 1}/{whole}")
            told("read", 0, 1)
        rows = [read_rows(source, state.recipe, start, stop)]
        give_back()  # what reading took
        segment = make_segment(state.recipe, rows, queries, told, machine=machine)
        segment.meta[BUILD] = {"request": state.request.digest, "start": start, "stop": stop}
        if state.recipe.generated:
            segment.meta["next_id"] = stop
        if told is not None:
            told("write", 0, 1)
        directory.commit([addition(segment)])
        del segment
        if stop < source.rows:
            gc.collect()  # a segment refers to itself
            give_back()


def _tell(progress: Progress, segment: str, stage: str, done: int, total: int) -> None:
    progress(f"{segment}, {stage}", done, total)
