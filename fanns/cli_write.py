"""The commands that change an index: delete."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fanns.cli_options import INDEX, filter_options, names, quiet_option, say
from fanns.errors import InputError

if TYPE_CHECKING:
    from fanns import Index

IDS = click.option("--ids", callback=names, metavar="A,B", help="The rows with these ids.")


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
    with fanns.open(index, mode="w") as opened:
        keys = None if ids is None else keys_of(opened, ids)
        count = opened.delete(ids=keys, where=where, params=params, nulls=nulls)
        say(f"deleted {count:,} of {len(opened) + count:,} rows", quiet)


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
