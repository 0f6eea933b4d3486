"""Records of all sources into shards on disk: broken ones counted and told, none twice.

A shard tells in its metadata how far its source was read and what was passed over until then, so
that reading goes on after the last one that is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pyarrow.parquet as pq
import xxhash

from fanns.errors import InputError

from . import run_files
from .arxiv_records import Broken, BrokenRecord, Source, record, table

STAGE = "records"
SHARD_ROWS = 8192
_NAMED = 5  # lines that are named of each kind of broken records
Report = Callable[[str, int, int], None]


class Skipped(NamedTuple):
    """A record that was left out: its source, its line there, and why."""

    source: str
    line: int
    reason: str


@dataclass
class Reading:
    """What was read: shards in order; records in them; the columns that any source has; what was
    skipped; by reason, what was passed over as it should be; dates that could not be read.
    """

    shards: list[Path] = field(default_factory=list)
    rows: int = 0
    columns: set[str] = field(default_factory=set)
    skipped: list[Skipped] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    odd_dates: int = 0


@dataclass(frozen=True)
class Wanted:
    """Which records to take.

    limit: so many at most, the first ones. sample: their share, by a hash of id and seed. without:
    ids to leave out. strict: the first broken record is an error.
    """

    limit: int | None = None
    sample: float = 1.0
    seed: int = 0
    strict: bool = False
    without: frozenset[str] = frozenset()


def read(
    sources: Sequence[Source],
    folder: Path,
    wanted: Wanted,
    *,
    shard_rows: int = SHARD_ROWS,
    report: Report | None = None,
) -> Reading:
    """The records that are wanted, as shards in `folder`. One whose id came before is broken.

    Raises InputError when there is no record, or a broken one under `strict`; StorageError when a
    shard cannot be written.
    """
    state, place, done = _resumed(folder)
    if wanted.strict and state.skipped:
        _refuse(state.skipped[0])
    if not done:
        writer = _Writer(folder, state, place, shard_rows)
        for number, line, found in _taken(sources, *place, wanted, state):
            writer.add(number, line, found)
            if report is not None and not writer.rows:
                report(STAGE, state.rows, max(wanted.limit or 0, state.rows))
        writer.write(last=True)
    if state.rows == 0:
        raise InputError(_nothing(sources, state))
    return state


def told(reading: Reading) -> list[str]:
    """What was read, in lines: records, what was skipped and why and where, what is missing."""
    kinds: dict[str, list[Skipped]] = {}
    for one in reading.skipped:
        kinds.setdefault(one.reason.partition(":")[0], []).append(one)
    lines = [f"{reading.rows:,} records read"]
    for reason, found in sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0])):
        where = ", ".join(f"{one.source} line {one.line:,}" for one in found[:_NAMED])
        more = ", ..." if len(found) > _NAMED else ""
        lines.append(f"{len(found):,} skipped, {reason}: {where}{more}")
    lines += [f"{count:,} passed over, {reason}" for reason, count in reading.passed_over.items()]
    if reading.odd_dates:
        lines.append(f"{reading.odd_dates:,} dates could not be read, and are null")
    return lines


def _taken(
    sources: Sequence[Source], first: int, after: int, wanted: Wanted, state: Reading
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Source, line and values of the records that are taken, from a place on; notes the others."""
    seen = {key for path in state.shards for key in _ids(path)}
    for number in range(first, len(sources)):
        if len(seen) == wanted.limit:
            return
        for raw in sources[number].read(after if number == first else 0):
            try:
                if isinstance(raw, Broken):
                    raise BrokenRecord(raw.reason)
                found = record(raw.fields)
                key = found.values["id"]
                if reason := _not_wanted(key, raw.again and key in seen, wanted):
                    state.passed_over[reason] += 1
                    continue
                if key in seen:
                    raise BrokenRecord(f"the id came before: {key}")
            except BrokenRecord as error:
                _skip(Skipped(sources[number].name, raw.line, str(error)), wanted.strict, state)
                continue
            seen.add(key)
            state.columns |= found.columns
            state.odd_dates += len(found.odd_dates)
            yield number, raw.line, found.values
            if len(seen) == wanted.limit:
                return


def _not_wanted(key: str, again: bool, wanted: Wanted) -> str | None:
    """Why a whole record is passed over; None if it is wanted."""
    if key in wanted.without:
        return "asked as queries"
    if again:
        return "listed again by the server"
    if wanted.sample < 1.0:
        place = xxhash.xxh3_64_intdigest(f"{wanted.seed} {key}".encode())
        if place >= wanted.sample * 2.0**64:
            return "not in the sample"
    return None


def _skip(skipped: Skipped, strict: bool, state: Reading) -> None:
    if strict:
        _refuse(skipped)
    state.skipped.append(skipped)


def _refuse(skipped: Skipped) -> NoReturn:
    raise InputError(
        f"{skipped.source}, line {skipped.line:,}: {skipped.reason} (without --strict such records "
        "are skipped)"
    )


class _Writer:
    """Collects records, and writes shards of so many."""

    def __init__(self, folder: Path, state: Reading, place: tuple[int, int], rows: int) -> None:
        self.folder, self.state, self.place, self.shard_rows = folder, state, place, rows
        self.told = len(state.skipped)
        self.rows: list[dict[str, Any]] = []

    def add(self, source: int, line: int, values: dict[str, Any]) -> None:
        self.rows.append(values)
        self.place = (source, line)
        if len(self.rows) == self.shard_rows:
            self.write(last=False)

    def write(self, last: bool) -> None:
        """A shard of what was collected; the last one says that it is."""
        state, (source, line) = self.state, self.place
        told = {
            "source": source,
            "line": line,
            "last": last,
            "columns": sorted(state.columns),
            "skipped": [list(one) for one in state.skipped[self.told :]],
            "passed over": dict(sorted(state.passed_over.items())),
            "odd dates": state.odd_dates,
        }
        path = run_files.shard(self.folder, STAGE, len(state.shards))
        run_files.write_table(path, table(self.rows), told)
        state.shards.append(path)
        state.rows += len(self.rows)
        self.told, self.rows = len(state.skipped), []


def _resumed(folder: Path) -> tuple[Reading, tuple[int, int], bool]:
    """What the shards on disk hold, source and line to go on after, and whether that is all."""
    state, place, done = Reading(), (0, 0), False
    for path in run_files.numbered(folder, STAGE):
        told = run_files.about(path)
        state.shards.append(path)
        state.rows += pq.read_metadata(path).num_rows
        state.columns = set(told["columns"])
        state.skipped += [Skipped(*one) for one in told["skipped"]]
        state.passed_over = Counter(told["passed over"])
        state.odd_dates = told["odd dates"]
        place, done = (told["source"], told["line"]), told["last"]
    return state, place, done


def _ids(path: Path) -> list[str]:
    return list(pq.read_table(path, columns=["id"])["id"].to_pylist())


def _nothing(sources: Sequence[Source], state: Reading) -> str:
    names = ", ".join(source.name for source in sources)
    first = "".join(f"; {one.source}, line {one.line}: {one.reason}" for one in state.skipped[:3])
    return f"no record that can be used in {names}{first}"
