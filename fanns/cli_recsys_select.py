"""`fanns dataset recsys select`: which columns a click model needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from fanns.cli_options import names, no_import_guard, say, whole_numbers
from fanns.cli_output import SCHEMA_VERSION, choose_format, render, to_json, write_text
from fanns.cli_recsys_options import figure_options

if TYPE_CHECKING:
    from fanns.datasets.recsys_selection import Judged

SELECTORS = ("gain", "permutation", "sfs", "shark", "autofield", "lpfs", "random")


@click.command()
@click.option(
    "--data",
    required=True,
    metavar="PATH",
    help="A MovieLens zip, a Parquet file with a column of 0 and 1, or synthetic.",
)
@click.option("--label", default="label", show_default=True, help="That column of a Parquet file.")
@click.option("--columns", callback=names, metavar="A,B", help="To choose from. Default: all.")
@click.option(
    "--selector",
    "selectors",
    multiple=True,
    type=click.Choice(SELECTORS),
    help="May be given more than once. Default: all.",
)
@click.option(
    "-k",
    "counts",
    callback=whole_numbers,
    metavar="K,K",
    help="Numbers of columns that models are trained on. Default: 1 to all.",
)
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="Rate of learning (0.001).")
@click.option("--batch", type=click.IntRange(min=1), help="Examples of a step (4096).")
@click.option("--epochs", type=click.IntRange(min=1), help="Of every training, at most (100).")
@click.option("--patience", type=click.IntRange(min=1), help="Epochs without gain (3).")
@click.option("--threads", type=click.IntRange(min=1), help="Of training. Default: torch's own.")
@figure_options
def select(
    data: str,
    label: str,
    columns: list[str] | None,
    selectors: tuple[str, ...],
    counts: tuple[int, ...] | None,
    seed: int,
    format_: str | None,
    quiet: bool,
    **training: Any,
) -> None:
    """Order columns by how much a click model needs them, by several selectors, and judge those.

    The protocol of ERASE (Jia et al. 2024). For every number k of columns a DCN-V2 is trained on
    the first k of an order; AUKC is the area under its AUC on rows held back, less 1/2 and as a
    share of what all columns reach, against the share of columns. 1/2 rises evenly, a good order
    comes near 1.

    \b
      gain         of splits in boosted trees      permutation  AUC lost when values change rows
      sfs, shark   gradients at columns' vectors   autofield, lpfs  gates that learn to close
      random       an order by chance, to compare with
    \b
    fanns dataset recsys select --data ml-1m.zip --threads 2
    """
    no_import_guard()
    from fanns.datasets import recsys_selection_data as rows
    from fanns.datasets.recsys_selection import compare, split
    from fanns.datasets.recsys_selectors import SELECTORS as known

    table, labels = rows.read(data, label, columns, seed=seed)
    given = {key: value for key, value in training.items() if value is not None}
    task = split(table, labels, training=replace(rows.TRAINING, seed=seed, **given), seed=seed)
    say(f"{len(table):,} rows, {len(task.fields)} columns: {', '.join(task.names)}", quiet)
    chosen = {name: known[name] for name in selectors or SELECTORS}
    found = compare(task, chosen, counts, say=lambda line: say(line, quiet))
    if choose_format(format_, None, "json") == "json":
        told = [_record(one) for one in found]
        shown = {"schema_version": SCHEMA_VERSION, "rows": len(table), "selectors": told}
        write_text(to_json(shown, indent=2), None)
        return
    lines = [
        (one.selector, f"{one.aukc:.4f}", f"{one.cpu_seconds:.1f}", " ".join(one.order))
        for one in found
    ]
    write_text(render(("selector", "AUKC", "CPU seconds", "columns, best first"), lines), None)


def _record(found: Judged) -> dict[str, Any]:
    return {
        "selector": found.selector,
        "aukc": found.aukc,
        "order": found.order,
        "importances": found.importances,
        "curve": [
            {"columns": count, "auc": auc}
            for count, auc in zip(found.counts, found.aucs, strict=True)
        ],
        "cpu_seconds": found.cpu_seconds,
    }
