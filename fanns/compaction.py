"""Compaction: small segments and those with many deleted rows become new ones.

Only neighbours are merged, so that rows keep their order. Each merge is a commit of its own:
readers go on with the files that they have open, and a crash leaves a state with the same rows.
"""

from __future__ import annotations

import gc
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fanns.adding import built
from fanns.building import MEASURED_ROWS, Recipe
from fanns.calibration import Calibration
from fanns.errors import InputError
from fanns.gathering import gather
from fanns.merge_memory import Room
from fanns.segment import Segment
from fanns.selection import Selection
from fanns.writing import Change

DEAD_SHARE = 0.1
"""A segment with more deleted rows than this share is built anew."""

SMALL_SHARE = 0.5
"""A segment of at most this share of all rows is merged with such neighbours: each costs a search
as much again as one segment does. What holds more than all others is left alone."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What a compaction did.

    Attributes:
        segments_before, segments_after; bytes_before, bytes_after: of the segments' files.
        rows: live ones; removed: deleted rows that are gone now.
        beyond_limit: segments that were left as they are because merging them would take more than
            `memory_limit`.
        native: segments over compressed tables (`fanns.stores`), which are left as they are: to
            merge them would be to decompress them.
        readers: numbers of processes that still hold files which are erased from the directory, as
            far as this process may see them; None where the system does not tell. Without `erase`
            nobody looks, and it is empty.
    """

    segments_before: int
    segments_after: int
    bytes_before: int
    bytes_after: int
    rows: int
    removed: int
    beyond_limit: int
    native: int
    readers: tuple[int, ...] | None


class Weight(NamedTuple):
    """Segments, the bytes of their files, and their rows, deleted ones too."""

    segments: int
    nbytes: int
    rows: int


def report(
    before: Weight,
    after: Weight,
    rows: int,
    beyond: int,
    native: int,
    readers: tuple[int, ...] | None,
) -> CompactReport:
    """What to tell of a compaction."""
    return CompactReport(
        segments_before=before.segments,
        segments_after=after.segments,
        bytes_before=before.nbytes,
        bytes_after=after.nbytes,
        rows=rows,
        removed=before.rows - after.rows,
        beyond_limit=beyond,
        native=native,
        readers=readers,
    )


def runs(segments: Sequence[Segment], every: bool, erase: bool) -> list[list[int]]:
    """The neighbours to be merged, by their places; a run of one is a segment built anew.

    Native segments stay as they are, and part those before them from those behind.

    Raises:
        InputError: with `erase`, a native segment has deleted rows: many share each number of its
            table.
    """
    total = sum(segment.rows for segment in segments)
    found: list[list[int]] = []
    before = -2
    for place, segment in enumerate(segments):
        if segment.native:
            if erase and must(segment, True):
                raise InputError(
                    f"{segment.n - segment.rows} deleted rows of a compressed table cannot be "
                    "erased, because rows share its numbers: export the index and import the file, "
                    "or build it anew with a table without them"
                )
            continue
        small = segment.rows <= SMALL_SHARE * total
        if not (every or small or must(segment, erase)):
            continue
        if place == before + 1:
            found[-1].append(place)
        else:
            found.append([place])
        before = place
    limit = erase or every
    return [run for run in found if len(run) > 1 or must(segments[run[0]], limit)]


def within(
    found: Sequence[Sequence[int]],
    segments: Sequence[Segment],
    recipe: Recipe,
    room: Room,
    erase: bool,
) -> tuple[list[list[int]], int]:
    """Runs that are merged within a limit of memory, and how many segments are left as they are.

    Raises:
        InputError: with `erase`, a segment with deleted rows would take more than the limit.
    """
    if room.limit is None:
        return [list(run) for run in found], 0
    kept: list[list[int]] = []
    left = 0
    for run in found:
        parts = room.divided(run, segments, recipe)
        for part in parts:
            segment = segments[part[0]]
            if len(part) > 1:
                kept.append(part)
            elif not (len(run) == 1 or must(segment, erase)):
                left += 1
            elif room.fits([segment], recipe):
                kept.append(part)
            elif erase and must(segment, True):
                needed = room.needed([segment], recipe)
                raise InputError(
                    f"memory_limit is {room.limit:,} bytes, but to erase the deleted rows of a "
                    f"segment of {segment.rows:,} rows about {needed:,} are needed: open the index "
                    "with more"
                )
            else:
                left += 1
    return kept, left


def must(segment: Segment, any_dead: bool) -> bool:
    """Whether a segment has too many deleted rows, or with `any_dead` one, to stay as it is."""
    dead = segment.n - segment.rows
    return dead > (0 if any_dead else DEAD_SHARE * segment.n)


def merge(
    segments: Sequence[Segment],
    run: Sequence[int],
    recipe: Recipe,
    next_id: int,
    progress: Progress | None,
) -> Change:
    """What puts one segment of their live rows in the place of some neighbours."""
    parts = [segments[place] for place in run]
    ingest = gather(recipe, [(part, part.live or Selection.all(part.n)) for part in parts])
    rows = len(ingest.ids)
    if rows == 0 and len(run) < len(segments) and not recipe.generated:
        return Change(removed=run)
    source = [ingest]
    del ingest  # taken out of the list by the build, so that one copy of the rows is held
    made = built(recipe, source, rows < MEASURED_ROWS, progress, kept(parts, rows))
    if recipe.generated:
        made.meta["next_id"] = next_id
    return Change(removed=run, added=[made], merge=True)


def kept(parts: Sequence[Segment], rows: int) -> Calibration | None:
    """The calibration on the user's own queries, where most of the rows have it; else None."""
    largest = max(parts, key=lambda part: part.rows)
    own = largest.calibration.source in ("tuned", "sample queries")
    return largest.calibration if own and 2 * largest.rows >= rows else None


def held_by(path: Path, wait: float) -> tuple[int, ...] | None:
    """Processes with open files of an index that are deleted, after at most `wait` seconds.

    None where the system has no /proc.
    """
    if not Path("/proc/self/fd").is_dir():
        return None
    gc.collect()  # our own earlier states
    end = time.monotonic() + wait
    while True:
        found = tuple(sorted(pid for pid in processes() if holds_deleted(pid, path)))
        if not found or time.monotonic() >= end:
            return found
        time.sleep(0.02)


def processes() -> list[int]:
    """The numbers of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def holds_deleted(pid: int, path: Path) -> bool:
    """Whether a process that we may look into has a deleted file of an index open."""
    pattern = re.compile(re.escape(f"{path}{os.sep}") + r"segment-\d+/[^/]+ \(deleted\)")
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        try:
            if pattern.fullmatch(os.readlink(f"{folder}/{name}")):
                return True
        except OSError:
            continue
    return False
