"""`fanns dataset recsys`: recommenders whose items and users can be searched."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fanns.cli_options import names, no_import_guard, say, whole_numbers
from fanns.cli_output import (
    SCHEMA_VERSION,
    choose_format,
    fields,
    render,
    to_json,
    write_text,
)
from fanns.cli_recsys_clicks import RECIPES, follow
from fanns.cli_recsys_options import figure_options
from fanns.errors import InputError

if TYPE_CHECKING:
    from fanns.datasets.recsys_metrics import Measured
    from fanns.datasets.recsys_models import Fitted
    from fanns.datasets.recsys_readers import Source
    from fanns.datasets.recsys_splits import Split, Train, Valid

MODELS = ("most-popular", "gf-cf", "bpr-mf", "lightgcn", "ngcf", "text", "aligned")
SPLITS = ("given", "ratio", "leave-one-out", "temporal")
FORMATS = ("lists", "triples", "movielens", "parquet")
SYNTHETIC = "synthetic"


@click.group()
def recsys() -> None:
    """Fit recommenders and write their vectors as data sets, ready for `fanns build`."""


def _shares(_: click.Context, __: click.Parameter, given: str) -> tuple[float, float, float]:
    try:
        train, valid, test = (float(part) for part in given.split(":"))
    except ValueError as error:
        raise click.BadParameter(f"expected three numbers such as 7:1:2, got {given!r}") from error
    total = train + valid + test
    if total <= 0 or min(train, valid, test) < 0:
        raise click.BadParameter(f"expected numbers from 0 that add up to more, got {given!r}")
    return train / total, valid / total, test / total


@recsys.command()
@click.argument("model", type=click.Choice((*MODELS, *RECIPES)))
@click.option(
    "--data",
    required=True,
    metavar="PATH",
    help="Interactions: a folder of train.txt and test.txt, a MovieLens zip, Parquet, or "
    "synthetic[:USERSxITEMS].",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Its folder.")
@click.option("--data-format", type=click.Choice(FORMATS), help="Of --data. Default: as it looks.")
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    help="How to part training, validation and test. Default: as files say, else ratio.",
)
@click.option(
    "--shares",
    default="7:1:2",
    show_default=True,
    callback=_shares,
    help="Of training, validation and test, for ratio and temporal.",
)
@click.option("--min-value", type=float, help="Leave out interactions whose value is below.")
@click.option("--dimensions", type=click.IntRange(min=1), help="Of the vectors.")
@click.option("--layers", type=click.IntRange(min=1), help="Of propagation: lightgcn, ngcf (2).")
@click.option("--weight", type=float, help="Of the low-pass filter: gf-cf (0.3).")
@click.option("--decay", type=click.FloatRange(min=0), help="Weight of embeddings' squares (1e-4).")
@click.option(
    "--way",
    type=click.Choice(["user", "interaction", "batch"]),
    help="How training draws: a uniform user (default), every interaction, users of a batch.",
)
@click.option("--negatives", type=click.IntRange(min=1), help="For each positive (1).")
@click.option(
    "--text", callback=names, metavar="A,B", help="Columns of items to read: text, aligned."
)
@click.option(
    "--encoder",
    metavar="NAME",
    help="Of texts: tf-idf (default), static, or a sentence-transformers model.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    help="What cosines are divided by: aligned (0.05).",
)
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="Rate of learning.")
@click.option("--batch", type=click.IntRange(min=1), help="Examples of a step of training (2048).")
@click.option("--epochs", type=click.IntRange(min=1), help="Of training, at most.")
@click.option("--eval-every", type=click.IntRange(min=1), help="Epochs between validations (5).")
@click.option(
    "--patience", type=click.IntRange(min=1), help="Validations without gain before the end (10)."
)
@click.option("--seconds", type=click.FloatRange(min=0), help="Of processor, to train at most.")
@click.option("--threads", type=click.IntRange(min=1), help="Of training. Default: torch's own.")
@click.option(
    "-k",
    "ks",
    default="10,20",
    show_default=True,
    callback=whole_numbers,
    help="Lengths of the lists that are judged.",
)
@click.option("--overwrite", is_flag=True, help="Replace a data set at the output.")
@figure_options
def fit(
    model: str,
    data: str,
    output: Path,
    data_format: str | None,
    split: str | None,
    shares: tuple[float, float, float],
    min_value: float | None,
    ks: tuple[int, ...],
    overwrite: bool,
    format_: str | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Fit a recommender, measure it, and write its items and users as a data set.

    \b
    MODEL is one of
      most-popular  what most took, for everyone
      gf-cf         graph filters (Shen et al. 2021): no training
      bpr-mf        matrix factorisation (Rendle et al. 2009)
      lightgcn      embeddings spread over the graph (He et al. 2020)
      ngcf          neural graph collaborative filtering (Wang et al. 2019)
      text          what items are described by
      aligned       texts aligned with behaviour (after EasyRec, 2025)
    \b
    or a recipe of a published figure, for MovieLens 1M (`published` in the figures)
      autoint, autoint-plus                       attention over fields (Song et al. 2019)
      unified-full, unified-hashed, unified-shared  one table for all fields, and what it is
                                                  compared with (Coleman et al. 2023)

    Figures are those of the test part, over all items but those of training; trained models stop
    where validation says. `metrics` are of the model's scores; `vector_metrics` of the vectors
    that are written, by brute force, where those are only part of the model.
    """
    from fanns.datasets import recsys_models, recsys_output

    no_import_guard()
    if output.exists() and not overwrite:
        raise InputError(f"{output} exists; choose another folder, or --overwrite")
    started = time.perf_counter()
    if model in RECIPES:
        if data_format not in (None, "movielens") or split or min_value is not None:
            raise click.UsageError(f"{model} has a protocol of its own: no --split, --min-value")
        record = follow(model, data, output, options, lambda line: say(line, quiet))
        _print(record, format_)
        return
    source = _source(data, data_format, min_value, options["seed"])
    parts = _split(source, split, shares, options["seed"])
    options["text"] = None if options["text"] is None else tuple(options["text"])
    train, valid = _taken(parts.train, parts.valid)
    fitted = recsys_models.fit(
        model,
        train,
        valid,
        recsys_models.Options(**options),
        features=source.items,
        say=lambda line: say(line, quiet),
    )
    measured = _measured(fitted, parts, ks)
    record = _record(model, fitted, source, parts, measured)
    recsys_output.write(output, fitted, source, parts, record)
    _print(record, format_)
    shown = shlex.quote(str(output))
    say(
        f"made {output} in {time.perf_counter() - started:.0f} s; "
        f"try: fanns build {shown} -o {shown}.fanns",
        quiet,
    )


def _source(data: str, form: str | None, least: float | None, seed: int) -> Source:
    from dataclasses import replace

    from fanns.datasets import recsys_readers

    simulated = data.partition(":")[0] == SYNTHETIC and not Path(data).exists()
    source = _simulated(data, seed) if simulated else recsys_readers.read(data, form)
    if least is None:
        return source
    values = source.interactions.values
    if values is None or source.split is not None:
        raise click.UsageError("--min-value is for interactions with values, not yet split")
    return replace(source, interactions=source.interactions.select(values >= least))


def _simulated(data: str, seed: int) -> Source:
    """Of synthetic, or synthetic:USERSxITEMS."""
    from fanns.datasets import recsys_synthetic

    _, colon, size = data.partition(":")
    try:
        counts = [int(part) for part in size.split("x")] if colon else []
        return recsys_synthetic.make(*counts, seed=seed)
    except (TypeError, ValueError) as error:
        raise click.UsageError(
            f"{data}: expected synthetic:USERSxITEMS, such as synthetic:600x400"
        ) from error


def _split(source: Source, way: str | None, shares: tuple[float, float, float], seed: int) -> Split:
    from fanns.datasets import recsys_splits

    if way is None:
        way = "ratio" if source.split is None else "given"
    if way == "given":
        if source.split is None:
            raise click.UsageError("--split given: the data does not say what is for the test")
        return source.split
    if way == "ratio":
        return recsys_splits.ratio(source.interactions, shares, seed=seed)
    if way == "temporal":
        return recsys_splits.temporal(source.interactions, shares)
    timed = source.interactions.times is not None
    return recsys_splits.leave_one_out(source.interactions, seed=None if timed else seed)


def _taken(train: Train, valid: Valid | None) -> tuple[Any, Any]:
    return train.take("fit"), None if valid is None else valid.take("choose")


def _measured(fitted: Fitted, parts: Split, ks: tuple[int, ...]) -> dict[str, Measured]:
    from fanns.datasets.recsys_metrics import evaluate, inner_products

    test, seen = parts.test.take("measure"), parts.train.seen()
    found = {"metrics": evaluate(fitted.scores, test, seen=seen, ks=ks)}
    if fitted.full:
        plain = inner_products(fitted.users, fitted.items)
        found["vector_metrics"] = evaluate(plain, test, seen=seen, ks=ks)
    return found


def _record(
    model: str, fitted: Fitted, source: Source, parts: Split, measured: dict[str, Measured]
) -> dict[str, Any]:
    data, report = source.interactions, fitted.report
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        **{name: one.values for name, one in measured.items()},
        "judged_users": measured["metrics"].users,
        "data": source.told,
        "data_hash": data.data_hash,
        "split": parts.told,
        "users": data.n_users,
        "items": data.n_items,
        "interactions": len(data),
        "dimensions": fitted.items.shape[1],
        "best_epoch": report.best_epoch,
        "stopped": report.stopped if report.curve else None,
        "cpu_seconds": report.cpu_seconds,
        "wall_seconds": report.wall_seconds,
        "config": report.config,
        "config_hash": report.config_hash,
        "versions": report.versions,
    }


def _print(record: dict[str, Any], format_: str | None) -> None:
    if choose_format(format_, None, "json") == "json":
        write_text(to_json(record, indent=2), None)
    else:
        shown = {key: value for key, value in record.items() if key not in ("config", "versions")}
        write_text(render(("what", "value"), fields(shown)), None)
