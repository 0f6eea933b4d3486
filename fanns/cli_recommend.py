"""What `fanns query --user` does: items for a user, unseen ones, reranked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fanns.cli_options import say
from fanns.cli_output import SCHEMA_VERSION, plain, to_json, write_table, write_text
from fanns.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanns import Index
    from fanns.datasets.recsys_rerank import Reranker
    from fanns.recommend import Recommendations

KINDS = ("lightgbm", "mlp")
OF_VECTORS = ("radius", "group_by", "timeout", "offset", "explain")
"""Options of a query that a user's shortlist knows nothing of."""
LEFT = ("group_size", "threads")
"""Those that have defaults, and are left out without a word."""


def user_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--users, --user, --unseen, --rerank and --shortlist."""
    for option in (
        click.option(
            "--shortlist",
            type=click.IntRange(min=1),
            default=100,
            show_default=True,
            help="Items that --rerank orders.",
        ),
        click.option(
            "--rerank",
            metavar="KIND|DIR",
            help="Order a shortlist by a reranker: its folder, or lightgbm or mlp for that beside "
            "the users (fanns dataset recsys rerank).",
        ),
        click.option("--unseen", is_flag=True, help="Leave out what the user has seen."),
        click.option("--user", metavar="ID", help="Query by a user of --users."),
        click.option(
            "--users",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Parquet of users: id, embedding, seen (fanns dataset recsys fit).",
        ),
    ):
        command = option(command)
    return command


def for_user(
    index: Index,
    shown: str,
    output: Path | None,
    quiet: bool,
    *,
    users: Path | None,
    user: str,
    rerank: str | None,
    columns: list[str] | None,
    k: int,
    **options: Any,
) -> int:
    """Print the items for a user; gives how many there are."""
    from fanns.recommend import Users, recommend

    if users is None:
        raise click.UsageError("--user needs --users, the file that has the user's vector")
    for name in OF_VECTORS:
        if options.pop(name, None):
            raise click.UsageError(f"--user does not go with --{name.replace('_', '-')}")
    options = {name: value for name, value in options.items() if name not in LEFT}
    reranker = None if rerank is None else load_reranker(rerank, users)
    found = recommend(
        index, Users.open(users), user, k, columns=columns or (), reranker=reranker, **options
    )
    if shown == "json":
        write_text(to_json(_answer(found, index.metric), indent=2), output)
    else:
        write_table(found.table, shown, output)
    ordered = f", the best of {found.shortlist} reranked" if rerank else ""
    say(f"{len(found)} of {found.matches:,} matches, {found.status}{ordered}", quiet)
    return len(found)


def load_reranker(named: str, users: Path) -> Reranker:
    """The reranker of a folder, or of a kind beside the users.

    Raises InputError where there is none, or a damaged one.
    """
    from fanns.datasets.recsys_rerank import Reranker

    if named in KINDS:
        return Reranker.load(reranker_folder(users.parent, named))
    if not Path(named).is_dir():
        raise InputError(f"--rerank {named}: no such folder, and none of {', '.join(KINDS)}")
    return Reranker.load(named)


def reranker_folder(dataset: Path, kind: str) -> Path:
    """Where the reranker of a kind lies in a data set."""
    return dataset / f"rerank-{kind}"


def _answer(found: Recommendations, metric: str) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "metric": metric,
        "status": found.status,
        "matches": found.matches,
        "shortlist": found.shortlist,
        "hits": [{"rank": i} | plain(row) for i, row in enumerate(found.table.to_pylist())],
    }
