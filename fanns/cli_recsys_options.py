"""Options that commands of `fanns dataset recsys` share."""

from __future__ import annotations

from pathlib import Path

import click

from fanns.cli_options import Command, quiet_option


def figure_options(command: Command) -> Command:
    """--seed, --format and -q."""
    command = quiet_option(command)
    command = click.option(
        "--format",
        "format_",
        type=click.Choice(["table", "json"]),
        help="Of the figures. Default: table on a terminal, json otherwise.",
    )(command)
    return click.option(
        "--seed", type=int, default=0, show_default=True, help="Of all that is drawn."
    )(command)


def shortlist_options(command: Command) -> Command:
    """DATASET, --index and --shortlist."""
    command = click.option(
        "--shortlist",
        type=click.IntRange(min=2),
        default=100,
        show_default=True,
        help="Nearest items of each user, which are ordered.",
    )(command)
    command = click.option(
        "--index",
        required=True,
        type=click.Path(exists=True, path_type=Path),
        help="The index of its items (fanns build).",
    )(command)
    path = click.Path(exists=True, file_okay=False, path_type=Path)
    return click.argument("dataset", type=path)(command)
