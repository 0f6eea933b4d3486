"""`fanns dataset recsys explain`: why a reranker puts items where it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fanns.cli_options import filter_options, no_import_guard, say
from fanns.cli_output import SCHEMA_VERSION, choose_format, render, to_json, write_text
from fanns.cli_recommend import load_reranker
from fanns.cli_recsys_options import figure_options, shortlist_options
from fanns.cli_rerank import shortlists

if TYPE_CHECKING:
    from fanns import Index
    from fanns.datasets.recsys_rerank import Reranker
    from fanns.datasets.recsys_surrogate import Surrogate

SAMPLED = 500
"""Users whose shortlists the tree learns from."""


@click.command()
@shortlist_options
@click.option("--user", required=True, metavar="ID", help="Whose items are explained.")
@click.option(
    "--rerank",
    default="lightgbm",
    show_default=True,
    metavar="KIND|DIR",
    help="The reranker: its folder, or lightgbm or mlp for that of the data set.",
)
@filter_options
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Items.")
@click.option(
    "--top", type=click.IntRange(min=1), default=6, show_default=True, help="Features of rules."
)
@click.option(
    "--depth", type=click.IntRange(1, 12), default=4, show_default=True, help="Questions of a rule."
)
@figure_options
def explain(
    dataset: Path,
    index: Path,
    user: str,
    rerank: str,
    where: str | None,
    params: dict[str, Any],
    nulls: str | None,
    k: int,
    shortlist: int,
    top: int,
    depth: int,
    seed: int,
    format_: str | None,
    quiet: bool,
) -> None:
    """Say by rules why a reranker puts a user's unseen items where it does.

    A small decision tree learns the reranker's scores on the shortlists of 500 users, from the
    features that move them most. How well it follows the reranker is told first; below an R^2 of
    0.6 there are no rules.

    \b
    fanns dataset recsys explain films/ --index films.fanns --user 42 --where "year < 2000"
    """
    import fanns
    from fanns.recommend import Users, recommend

    no_import_guard()
    users = dataset / "users.parquet"
    reranker = load_reranker(rerank, users)
    with fanns.open(index) as opened:
        made = _surrogate(dataset, opened, reranker, shortlist, top, depth, seed)
        found = recommend(
            opened, Users.open(users), user, k, where, params,
            reranker=reranker, shortlist=shortlist, nulls=nulls,
        )  # fmt: skip
    assert found.features is not None
    rules = [made.rule(row) for row in found.features]
    rows = found.table.select(["id", "reranked"]).to_pylist()
    if choose_format(format_, None, "json") == "json":
        items = [
            row | {"because": rule.conditions, "mean": rule.score, "share": rule.share}
            for row, rule in zip(rows, rules, strict=True)
        ]
        told = {
            "schema_version": SCHEMA_VERSION,
            "fidelity": made.fidelity,
            "auc": made.auc,
            "importances": made.importances,
            "items": items,
        }
        write_text(to_json(told, indent=2), None)
        return
    say(f"the rules follow the reranker with R^2 {made.fidelity:.2f}, AUC {made.auc:.2f}", quiet)
    lines = [
        (str(row["id"]), f"{row['reranked']:.4f}", f"{rule.score:.4f}", ", ".join(rule.conditions))
        for row, rule in zip(rows, rules, strict=True)
    ]
    write_text(render(("item", "reranked", "mean of the rule", "because"), lines), None)


def _surrogate(
    dataset: Path, index: Index, reranker: Reranker, shortlist: int, top: int, depth: int, seed: int
) -> Surrogate:
    """Of the shortlists of some users with something in validation, whom the reranker knows."""
    import numpy as np
    import pyarrow.parquet as pq

    from fanns.datasets.recsys_shortlists import gather
    from fanns.datasets.recsys_surrogate import imitate

    items = pq.read_table(dataset / "items.parquet")
    users = pq.read_table(dataset / "users.parquet")
    chosen = np.random.default_rng(seed).permutation(users.num_rows)[:SAMPLED]
    columns = reranker.columns
    sample = gather(
        columns,
        items,
        users.take(np.sort(chosen)),
        shortlists(index, columns.wanted, shortlist),
        label="valid",
        left_out=("seen",),
    )
    return imitate(
        reranker.model.predict,
        sample.examples.features,
        columns.names,
        columns.known,
        top=top,
        depth=depth,
        seed=seed,
    )
