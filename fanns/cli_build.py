"""The commands about an index as a whole: build, info, verify, warmup."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from fanns.cli_options import (
    INDEX,
    labels,
    names,
    progress,
    quiet_option,
    read_vectors,
    say,
    threads_option,
)
from fanns.cli_output import (
    SCHEMA_VERSION,
    choose_format,
    fields,
    output_options,
    render,
    to_json,
    write_text,
)

CORRUPT = 3


@click.command()
@click.argument("data", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory of the new index.")
@click.option("--vector", help="Column of vectors. Default: the only one that can be it.")
@click.option(
    "--vectors",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of a compressed table (fanns.stores) that is searched as it is. Default: "
    "items.store of a data set's folder, where there is one.",
)
@click.option("--graph", is_flag=True, help="Of a compressed table, also build graph and clusters.")
@click.option("--id", "id_", help="Column of keys. Default: `id` if there is one, else 0..n-1.")
@click.option(
    "--metric",
    type=click.Choice(["cosine", "l2", "ip", "lorentz", "poincare"]),
    help="How distances are measured. Default: as a data set's manifest says, else cosine. The "
    "last two are for transforms of these names.",
)
@click.option(
    "--attributes",
    callback=names,
    metavar="A,B",
    help="Columns to index for filters. Default: all but long texts.",
)
@click.option(
    "--store",
    callback=names,
    metavar="A,B",
    help="Columns to keep for display only. Default: long texts.",
)
@click.option("--model", help="The sentence-transformers model the vectors came from, for --text.")
@click.option(
    "--queries",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sample queries (.npy) to calibrate the recall target on.",
)
@click.option(
    "--calibration",
    type=click.Choice(["measure", "default"]),
    default="measure",
    show_default=True,
    help="Measure speed and recall on this data, or take shipped constants.",
)
@click.option(
    "--bits",
    type=click.Choice(["0", "1", "2", "4"]),
    default="2",
    show_default=True,
    help="Bits per dimension of the codes that pick candidates; 0: none.",
)
@click.option(
    "--range-index",
    default="",
    callback=names,
    metavar="A,B",
    help="Ordered columns whose intervals are searched as if an index held just their rows.",
)
@click.option(
    "--label-index",
    default="",
    callback=labels,
    metavar="A,B",
    help="Columns whose frequent values are searched so; auto: as many as an eighth of the vectors'"
    " bytes holds.",
)
@click.option(
    "--transform",
    "transforms",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of a transform (fanns transform fit) that rows and queries go through; several "
    "follow one another.",
)
@click.option("--no-originals", is_flag=True, help="Keep float16 vectors only: half the bytes.")
@click.option(
    "--reduce/--no-reduce",
    default=None,
    help="Hold vectors of low rank by their coordinates, losslessly. Default: where queries gain.",
)
@click.option(
    "--memory-limit",
    metavar="SIZE",
    help="Of this process, such as 1GB: read and build piece by piece. The same command again goes "
    "on with a build that was interrupted.",
)
@click.option(
    "--device",
    default="cpu",
    help='Where to cluster, encode and link rows: "cuda" for a GPU. The codes are the same.',
)
@click.option(
    "--device-memory", metavar="SIZE", help="Of a GPU, such as 20GB. Default: 0.9 of what is free."
)
@click.option("--overwrite", is_flag=True, help="Replace an index at the output.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is random.")
@threads_option(None, "Threads of the build. Default: all cores.")
@click.option("--dry-run", is_flag=True, help="Only tell roles, bytes, memory and seconds.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json"]),
    help="Of --dry-run. Default: table on a terminal, json otherwise.",
)
@quiet_option
def build(
    data: tuple[str, ...],
    output: Path | None,
    id_: str | None,
    queries: Path | None,
    no_originals: bool,
    reduce: bool | None,
    overwrite: bool,
    dry_run: bool,
    format_: str | None,
    quiet: bool,
    bits: str,
    vectors: Path | None,
    graph: bool,
    transforms: tuple[Path, ...],
    device: str,
    device_memory: str | None,
    **options: Any,
) -> None:
    """Build an index from Parquet files.

    DATA is one or more files, folders or glob patterns, or the folder of a data set. Nothing is
    visible at the output before the whole index is written, so a build that fails or is interrupted
    leaves it as it was. With --memory-limit, what was built until then is kept beside it.
    """
    from fanns import Index, stores
    from fanns.errors import IndexExistsError
    from fanns.transforms import Transforms

    options |= {"id": id_, "keep_originals": not no_originals, "bits": int(bits)}
    options["transforms"] = Transforms.loaded(transforms)
    options["reduce"] = "auto" if reduce is None else "on" if reduce else "off"
    source = [_items(path) for path in data]
    beside = Path(data[0], stores.FOLDER)
    if vectors is None and len(data) == 1 and source != list(data) and beside.is_dir():
        vectors = beside
    if vectors is None and graph:
        raise click.UsageError("--graph is for a compressed table: give its folder by --vectors")
    if vectors is not None and dry_run:
        raise click.UsageError("--dry-run is for vectors in Parquet files, not for a store")
    if vectors is not None:
        options |= {"vectors": stores.load(vectors), "graph": graph}
    options["metric"] = options["metric"] or _metric(data)
    if dry_run:
        record = Index.plan_build(source, **options)
        _print_record(record, format_, None)
        return
    if output is None:
        raise click.UsageError("missing option -o: the directory of the new index")
    options |= {"device": device, "device_memory": device_memory}
    sample = None if queries is None else np.atleast_2d(read_vectors(queries))
    started = time.perf_counter()
    try:
        with progress(quiet) as report:
            index = Index.build(
                source, path=output, overwrite=overwrite, queries=sample, progress=report, **options
            )
    except IndexExistsError as error:
        raise IndexExistsError(f"{output} exists; choose another path, or --overwrite") from error
    took = time.perf_counter() - started
    segment = index.info()["segments"][0]
    on = "" if segment["built_on"] == "cpu" else f" on {segment['built_on']}"
    say(
        f"built {output}{on}: {len(index):,} rows of {segment['vectors']} in {took:.1f} s; "
        f"try: fanns info {shlex.quote(str(output))}",
        quiet,
    )


def _items(path: str) -> str:
    """The items of a data set, where the path is the folder of one."""
    items = Path(path, "items.parquet")
    return str(items) if Path(path, "manifest.json").is_file() and items.is_file() else path


def _metric(data: tuple[str, ...]) -> str:
    """The metric of a data set, where the data is one; else cosine."""
    from fanns.datasets.dataset import read_manifest

    folders = {str(Path(path)) for path in data if path != _items(path)}
    folders |= {str(Path(path).parent) for path in data if Path(path).name == "items.parquet"}
    found = {
        str(read_manifest(Path(folder))["metric"])
        for folder in folders
        if Path(folder, "manifest.json").is_file()
    }
    if len(found) > 1:
        raise click.UsageError(f"data sets of the metrics {', '.join(sorted(found))}: --metric?")
    return found.pop() if found else "cosine"


@click.command()
@INDEX
@output_options(("table", "json"))
def info(index: Path, format_: str | None, output: Path | None) -> None:
    """Tell what an index holds: rows, columns, bytes, calibration."""
    import fanns

    with fanns.open(index) as opened:
        _print_record(opened.info(), format_, output)


@click.command()
@INDEX
@output_options(("table", "json"))
@quiet_option
def verify(index: Path, format_: str | None, output: Path | None, quiet: bool) -> int:
    """Read every file of an index and compare checksums.

    Prints one problem per line; exit code 3 when there is one.
    """
    import fanns

    with progress(quiet) as report, fanns.open(index) as opened:
        problems = opened.verify(
            None if report is None else lambda done, total: report("verify", done, total)
        )
    if choose_format(format_, output, "json") == "json":
        record = {"schema_version": SCHEMA_VERSION, "ok": not problems, "problems": problems}
        write_text(to_json(record, indent=2), output)
    elif problems:
        write_text("\n".join(problems), output)
    if problems:
        say(f"{index} is damaged: {len(problems)} problem(s) found", quiet)
        return CORRUPT
    say(f"{index} is as it was written", quiet)
    return 0


@click.command()
@click.argument("index", required=False, type=click.Path(exists=True, path_type=Path))
@quiet_option
def warmup(index: Path | None, quiet: bool) -> None:
    """Compile the search kernels now, so that the next query need not.

    With INDEX, its pages are also brought into memory.
    """
    import fanns

    started = time.perf_counter()
    if index is None:
        vectors = np.random.default_rng(0).standard_normal((4096, 64)).astype(np.float32)
        made = fanns.Index.build({"embedding": vectors}, calibration="default")
        made.warmup()
    else:
        with fanns.open(index) as opened:
            opened.warmup()
    say(f"warm after {time.perf_counter() - started:.1f} s", quiet)


def _print_record(record: dict[str, Any], format_: str | None, output: Path | None) -> None:
    if choose_format(format_, output, "json") == "json":
        write_text(to_json({"schema_version": SCHEMA_VERSION, **record}, indent=2), output)
    else:
        write_text(render(("what", "value"), fields(record)), output)
