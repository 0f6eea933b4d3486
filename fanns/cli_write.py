"""The commands that change an index: add, upsert, update, delete, compact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fanns.cli_options import (
    INDEX,
    filter_options,
    names,
    parse_values,
    progress,
    quiet_option,
    say,
)
from fanns.errors import InputError

if TYPE_CHECKING:
    from fanns import Index

FAILED = 1
IDS = click.option("--ids", callback=names, metavar="A,B", help="The rows with these ids.")


DATA = click.argument("data", nargs=-1, required=True)


@click.command()
@INDEX
@DATA
@quiet_option
def add(index: Path, data: tuple[str, ...], quiet: bool) -> None:
    """Add rows from Parquet files.

    DATA is one or more files, folders or glob patterns, with the columns of the index. An id that
    the index holds is an error, and nothing is added; see `fanns upsert`.
    """
    import fanns

    with fanns.open(index, mode="w", merge="manual") as opened, progress(quiet) as report:
        before = len(opened)
        opened.add(list(data), progress=report)
        say(f"added {len(opened) - before:,} rows, {len(opened):,} in all", quiet)


@click.command()
@INDEX
@DATA
@quiet_option
def upsert(index: Path, data: tuple[str, ...], quiet: bool) -> None:
    """Add rows from Parquet files; each replaces the row of its id.

    DATA is one or more files, folders or glob patterns, with the columns of the index. All rows
    change at once, or none.
    """
    import fanns

    with fanns.open(index, mode="w", merge="manual") as opened, progress(quiet) as report:
        before = len(opened)
        replaced = opened.upsert(list(data), progress=report)
        added = len(opened) - before
        say(f"replaced {replaced:,} rows, added {added:,}, {len(opened):,} in all", quiet)


@click.command()
@INDEX
@IDS
@filter_options
@quiet_option
def delete(
    index: Path,
    ids: list[str] | None,
    where: str | None,
    params: dict[str, Any],
    nulls: str | None,
    quiet: bool,
) -> None:
    """Delete rows, by ids or by a filter.

    Ids that the index does not hold are no error. --where TRUE deletes every row. What is deleted
    is in no answer from then on; `fanns compact` gives the space back.

    \b
    fanns delete papers.fanns --where "submitted_date < :d" -p d=2010-01-01
    """
    import fanns

    check_choice(ids, where)
    with fanns.open(index, mode="w", merge="manual") as opened:
        keys = None if ids is None else keys_of(opened, ids)
        count = opened.delete(ids=keys, where=where, params=params, nulls=nulls)
        say(f"deleted {count:,} of {len(opened) + count:,} rows", quiet)


@click.command()
@INDEX
@IDS
@filter_options
@click.option(
    "--set",
    "values",
    multiple=True,
    required=True,
    metavar="COLUMN=VALUE",
    callback=parse_values,
    help="The new value of a column; JSON where it parses as JSON (null, lists), else text.",
)
@quiet_option
def update(
    index: Path,
    ids: list[str] | None,
    where: str | None,
    params: dict[str, Any],
    nulls: str | None,
    values: dict[str, Any],
    quiet: bool,
) -> None:
    """Give attributes of rows new values, by ids or by a filter.

    Vectors are not touched. --where TRUE updates every row.

    \b
    fanns update papers.fanns --where "doi IS NULL" --set versions=1 --set comments=null
    """
    import fanns

    check_choice(ids, where)
    with fanns.open(index, mode="w", merge="manual") as opened:
        keys = None if ids is None else keys_of(opened, ids)
        count = opened.update(set=values, ids=keys, where=where, params=params, nulls=nulls)
        say(f"updated {count:,} of {len(opened):,} rows", quiet)


@click.command()
@INDEX
@click.option(
    "--erase",
    is_flag=True,
    help="Leave nothing in any file of what was deleted, replaced or dropped.",
)
@click.option("--full", is_flag=True, help="Merge all segments into one.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0,
    help="With --erase, seconds to wait for processes that hold erased files.",
)
@quiet_option
def compact(index: Path, erase: bool, full: bool, wait: float, quiet: bool) -> int:
    """Merge small segments and those with many deleted rows, and give their space back.

    Readers go on meanwhile. With --erase, exit code 1 when processes still hold erased files open;
    they are named.
    """
    import fanns

    with fanns.open(index, mode="w", merge="manual") as opened, progress(quiet) as report:
        told = opened.compact(erase=erase, full=full, wait=wait, progress=report)
    say(
        f"compacted {index}: {told.segments_before} segments to {told.segments_after}, "
        f"{told.bytes_before:,} bytes to {told.bytes_after:,}, "
        f"{told.removed:,} deleted rows are gone",
        quiet,
    )
    if told.readers:
        held = ", ".join(map(str, told.readers))
        click.echo(f"error: erased files are still open in process(es) {held}", err=True)
        return FAILED
    if told.readers is None:
        say("whether readers still hold erased files cannot be told on this system", quiet)
    return 0


def check_choice(ids: list[str] | None, where: str | None) -> None:
    """One of --ids and --where was given."""
    if (ids is None) == (where is None):
        raise click.UsageError("give one of --ids and --where; --where TRUE means every row")


def keys_of(index: Index, texts: list[str]) -> list[Any]:
    """Ids from the command line, of the type that the index has.

    Raises:
        InputError: one is no integer, and the index has integers.
    """
    if index.info()["id"]["type"] == "string":
        return list(texts)
    try:
        return [int(text) for text in texts]
    except ValueError as error:
        raise InputError(f"ids are integers in this index: {error}") from error
