"""The command `fanns bench compression`: what compressed embedding tables cost and give."""

from __future__ import annotations

from pathlib import Path

import click

from fanns.bench.cli_proof_options import COUNT
from fanns.cli_options import quiet_option, say
from fanns.cli_output import write_text

TABLES = (
    "full", "hashed", "unified", "quotient-concat", "quotient-add", "quotient-mult", "mixed",
    "selected", "lma", "sparse",
)  # fmt: skip
SHARES = (1.0, 0.5, 0.1, 0.0625)


@click.command()
@click.option(
    "--data",
    required=True,
    metavar="PATH",
    help="Interactions with a test part, such as a folder of train.txt and test.txt.",
)
@click.option(
    "--table", "tables", multiple=True, type=click.Choice(TABLES), help="Kinds. [default: all]"
)
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Shares of the numbers of a full table. [default: 1, 0.5, 0.1, 0.0625]",
)
@click.option("--dimensions", type=COUNT, default=32, show_default=True, help="Of the vectors.")
@click.option("--epochs", type=COUNT, default=6, show_default=True, help="Of every training.")
@click.option("--batch", type=COUNT, default=8192, show_default=True, help="Triples of a step.")
@click.option(
    "--lr",
    type=click.FloatRange(min=0, min_open=True),
    default=5e-3,
    show_default=True,
    help="Rate of learning.",
)
@click.option("--queries", type=COUNT, default=200, show_default=True, help="Timed, by users.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File for the page; default: printed."
)
@quiet_option
def compression(
    data: str,
    tables: tuple[str, ...],
    budgets: tuple[float, ...],
    dimensions: int,
    epochs: int,
    batch: int,
    lr: float,
    queries: int,
    seed: int,
    output: Path | None,
    quiet: bool,
) -> None:
    """Train matrix factorisation with every kind of embedding table at several budgets.

    Tells numbers held, bytes in the index, recall@20 and NDCG@20 by brute force, and the time of an
    exact query under a filter that passes a tenth of the items. On Gowalla with the defaults it
    takes about 20 minutes of one core.

    \b
      fanns bench compression --data gowalla -o compression.md
    """
    from fanns.bench.proofs import compression as proof
    from fanns.datasets.recsys_pairwise import Settings
    from fanns.datasets.recsys_readers import read
    from fanns.datasets.recsys_trainer import Training

    source = read(data)
    if source.split is None:
        raise click.UsageError(f"{data} does not say what is for the test")
    training = Training(lr=lr, batch=batch, epochs=epochs, seed=seed, threads=1)
    found, micros = [], {}
    for made in proof.rows(
        source.split.train.take("fit"),
        source.split.test.take("measure"),
        Settings(dimensions=dimensions, training=training),
        kinds=tables or TABLES,
        budgets=budgets or SHARES,
        say=lambda line: say(line, quiet),
    ):
        found.append(made.row)
        users = made.users[:queries]
        micros[made.row.kind, made.row.share] = proof.filtered_micros(made.table.to_store(), users)
    write_text(proof.page(found, micros) + "\n", output)
