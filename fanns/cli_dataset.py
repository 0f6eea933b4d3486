"""`fanns dataset`: data sets to search and to measure, made from what others publish."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fanns.cli_options import no_import_guard, progress, quiet_option, say
from fanns.cli_recsys import recsys
from fanns.cli_recsys_explain import explain
from fanns.cli_recsys_select import select
from fanns.cli_rerank import rerank

if TYPE_CHECKING:
    from fanns.datasets.arxiv_records import Source
    from fanns.datasets.arxiv_synthetic import Twin
    from fanns.datasets.vector_makers import VectorMaker

SYNTHETIC_ROWS = 20_000
TEXTS = ("title-abstract", "abstract", "title")
LAYOUTS = ("arxiv-for-fanns",)
TRUTH_DEVICES = {"auto": None, "cpu": False, "cuda": True}
# Options that say how texts are encoded.
ENCODING = (
    "document_prompt",
    "query_prompt",
    "max_length",
    "batch_size",
    "dtype",
    "device",
    "dimensions",
    "trust_remote_code",
)


@click.group()
def dataset() -> None:
    """Make data sets: items with vectors and attributes, queries with filters, exact answers."""


recsys.add_command(rerank)
recsys.add_command(select)
recsys.add_command(explain)
dataset.add_command(recsys)


@dataset.command()
@click.argument("more", nargs=-1, metavar="[SOURCE]...")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="SOURCE...",
    help="Where the papers come from: see above.",
)
@click.option(
    "--model",
    metavar="NAME_OR_FOLDER",
    help="Who makes the vectors: a sentence-transformers model, `minilm` (the default), `paper` or "
    "`static`.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Its folder.")
@click.option("--limit", type=click.IntRange(min=1), help="Items at most. Default: all.")
@click.option(
    "--sample",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of the papers to take, drawn by their ids.",
)
@click.option("--strict", is_flag=True, help="Stop at a broken record instead of skipping it.")
@click.option(
    "--queries",
    type=click.IntRange(min=1),
    help="Search phrases, each of a paper held out. Default: 1,000, or an eleventh of the papers.",
)
@click.option(
    "--query-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Your own queries: lines of text, JSON lines, or Parquet with a column `text`.",
)
@click.option(
    "--text",
    type=click.Choice(TEXTS),
    default=TEXTS[0],
    show_default=True,
    help="What of a paper is embedded; the published data set has abstracts.",
)
@click.option("--document-prompt", help="Text before every paper, or a prompt's name in the model.")
@click.option("--query-prompt", help="Text before every query, or a prompt's name in the model.")
@click.option("--max-length", type=click.IntRange(min=1), help="Tokens after which texts are cut.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Texts that are encoded at a time.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="Of the model's layers.")
@click.option("--device", help="cpu, cuda, cuda:1. Default: a GPU where there is one.")
@click.option(
    "--dimensions",
    type=click.IntRange(min=1),
    help="Cut vectors to the first so many (Matryoshka); of simulated ones, how many (384).",
)
@click.option("--no-normalize", is_flag=True, help="Leave vectors as long as the model makes them.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model.")
@click.option(
    "--like",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Data set whose vectors' spectrum simulated ones take; the card compares the two.",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of vectors to share between runs.",
)
@click.option(
    "--layout",
    "layouts",
    multiple=True,
    type=click.Choice(LAYOUTS),
    help="Another layout to write as well.",
)
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Exact answers of every query.",
)
@click.option("--memory-limit", metavar="SIZE", default="2GB", help="Of the exact answers.")
@click.option(
    "--truth-device",
    type=click.Choice(list(TRUTH_DEVICES)),
    default="auto",
    show_default=True,
    help="Where exact answers are found; they are the same. auto: a GPU where faiss sees one.",
)
@click.option(
    "--pause",
    type=click.FloatRange(min=0),
    default=3.0,
    show_default=True,
    help="Seconds between the requests of a harvest.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn.")
@click.option("--overwrite", is_flag=True, help="Replace a data set at the output.")
@quiet_option
def arxiv(
    more: tuple[str, ...],
    sources: tuple[str, ...],
    model: str | None,
    output: Path,
    cache: Path | None,
    memory_limit: str,
    truth_device: str,
    pause: float,
    quiet: bool,
    **options: Any,
) -> None:
    """Make a benchmark of filtered search from arXiv's metadata, as arxiv-for-fanns is one.

    \b
    SOURCE is any of
      a file of arXiv's metadata snapshot (JSON lines, also .gz or .zip)
      Parquet or JSON lines with columns like arXiv's, a folder or a pattern of such files
      arxiv, or the URL of an OAI-PMH server with ?set=cs&from=2024-01-01&until=2024-01-31
      synthetic, or synthetic:ROWS: simulated papers with simulated vectors

    A run that ended early goes on when the same command is given again.
    """
    from fanns.datasets.arxiv_pipeline import WORK, Settings, make
    from fanns.memory_limit import parse_size

    no_import_guard()
    named = (*sources, *more)
    if not named:
        raise click.UsageError("missing option --source: a file, a folder, a URL or synthetic")
    encoding = {name: options.pop(name) for name in ENCODING}
    encoding["normalize"] = False if options.pop("no_normalize") else None
    started = time.perf_counter()
    found, maker = _origin(named, model, output / WORK, pause, cache, options, encoding)
    settings = Settings(
        tuple(found),
        output,
        memory_limit=parse_size(memory_limit),
        truth_gpu=TRUTH_DEVICES[truth_device],
        **options,
    )
    with progress(quiet) as report:
        make(settings, maker, lambda line: say(line, quiet), report)
    shown = shlex.quote(str(output))
    say(
        f"made {output} in {time.perf_counter() - started:.0f} s; "
        f"try: fanns build {shown} -o {shown}.fanns",
        quiet,
    )


def _origin(
    named: Sequence[str],
    model: str | None,
    work: Path,
    pause: float,
    cache: Path | None,
    options: dict[str, Any],
    encoding: dict[str, Any],
) -> tuple[list[Source], VectorMaker]:
    """Where records come from, and who makes their vectors."""
    from fanns.datasets import arxiv_sources
    from fanns.datasets.arxiv_synthetic import Simulated, Synthetic

    twin = [name for name in named if name.partition(":")[0] == "synthetic"]
    if not twin:
        if options["like"] is not None:
            raise click.UsageError("--like is for simulated papers: --source synthetic")
        found = arxiv_sources.find(named, work, pause)
        return found, _encoder(model, work, cache, options["seed"], encoding)
    if len(named) > 1:
        raise click.UsageError("synthetic stands alone: give no other source beside it")
    papers = _twin(twin[0], options, encoding["dimensions"] if model is None else None)
    if model is None:
        return [Synthetic(papers)], Simulated(papers)
    return [Synthetic(papers)], _encoder(model, work, cache, options["seed"], encoding)


def _twin(name: str, options: dict[str, Any], dimensions: int | None) -> Twin:
    """The simulated papers of synthetic, or synthetic:ROWS."""
    from fanns.datasets.arxiv_synthetic import DIMENSIONS, Twin, spectrum_of

    rows = options["limit"] or SYNTHETIC_ROWS
    if given := name.partition(":")[2]:
        if not given.isdecimal() or int(given) == 0:
            raise click.UsageError(f"{name}: expected synthetic:ROWS, a whole number above 0")
        rows = int(given)
    like = options["like"]
    spectrum = None if like is None else spectrum_of(like)
    if dimensions is None:
        dimensions = DIMENSIONS if spectrum is None else spectrum.dimensions
    return Twin(rows, dimensions, options["seed"], spectrum)


def _encoder(
    model: str | None, work: Path, cache: Path | None, seed: int, encoding: dict[str, Any]
) -> VectorMaker:
    from fanns.datasets.encoder_names import DEFAULT
    from fanns.datasets.encoders import load
    from fanns.datasets.static_embedding import Training
    from fanns.datasets.vector_makers import STATIC, Encoded, Trained

    if model != STATIC:
        return Encoded(load(model or DEFAULT, **encoding), cache)
    dimensions = encoding.pop("dimensions")
    size = {} if dimensions is None else {"dimensions": dimensions}
    if given := [name for name in ("max_length", "dtype") if encoding[name] is not None]:
        raise click.UsageError(f"--model static has no {given[0]}")
    folder = work.parent / "encoder"
    return Trained(work / "made" / "encoder", str(folder), Training(seed=seed, **size), encoding)
