"""The commands that search: query and check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from fanns.cli_options import (
    INDEX,
    filter_options,
    names,
    no_import_guard,
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
    plain,
    render,
    to_json,
    write_table,
    write_text,
)
from fanns.cli_recommend import for_user, user_options
from fanns.errors import InputError

if TYPE_CHECKING:
    from fanns import BatchHits, Hits, Index

MISSED, FEW = 4, 5

VECTOR_FILE = click.option(
    "--vector-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Query vectors, a .npy array of shape [d] or [m, d].",
)
K = click.option(
    "-k", type=click.IntRange(min=1), default=10, show_default=True, help="Hits per query."
)
RECALL = click.option(
    "--recall",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="Share of the true k nearest to aim at.",
)


@click.command()
@INDEX
@VECTOR_FILE
@click.option("--text", help="Query by text, with the model that the index records.")
@click.option("--like", metavar="ID", help="Query by the vector of a row; itself is a hit too.")
@user_options
@filter_options
@K
@RECALL
@click.option("--exact", is_flag=True, help="Compare every passing row in full precision.")
@click.option("--radius", type=float, help="Only hits at most this far.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Leave out the first hits.")
@click.option("--group-by", metavar="COLUMN", help="k groups with distinct values of a column.")
@click.option("--group-size", type=click.IntRange(min=1), default=1, help="Hits of a group.")
@click.option("--timeout", type=float, help="Seconds after which the best so far is given.")
@click.option("--columns", callback=names, metavar="A,B", help="Columns to show with the hits.")
@click.option("--explain", is_flag=True, help="Also tell the plan, predicted and actual work.")
@click.option("--strict", is_flag=True, help="Exit code 5 when a query has fewer than k hits.")
@click.option("--model", help="Where to load the text encoder from, if not by its recorded name.")
@click.option("--trust-remote-code", is_flag=True, help="Run the code that the encoder brings.")
@click.option("--device", default="cpu", help='Where to search: "cuda" for a GPU.')
@threads_option(1, "Threads over the queries of a batch.")
@output_options()
@quiet_option
def query(
    index: Path,
    vector_file: Path | None,
    text: str | None,
    like: str | None,
    users: Path | None,
    user: str | None,
    unseen: bool,
    rerank: str | None,
    shortlist: int,
    where: str | None,
    columns: list[str] | None,
    k: int,
    explain: bool,
    strict: bool,
    model: str | None,
    trust_remote_code: bool,
    device: str,
    format_: str | None,
    output: Path | None,
    quiet: bool,
    **options: Any,
) -> int:
    """Find the nearest rows that pass a filter.

    One of --vector-file, --text, --like and --user says what to look for. An array of shape
    [m, d] asks m queries, whose hits carry the query's number.

    \b
    fanns query papers.fanns --like 2103.00017 --where "primary_category = :c" -p c=cs.LG
    fanns query items.fanns --users users.parquet --user 42 --unseen --where "year >= 2000"
    """
    import fanns

    if sum(given is not None for given in (vector_file, text, like, user)) != 1:
        raise click.UsageError("give one of --vector-file, --text, --like and --user")
    if user is None and (users is not None or unseen or rerank is not None):
        raise click.UsageError("--users, --unseen and --rerank go with --user")
    shown = choose_format(format_, output)
    with fanns.open(index, device=device) as opened:
        if user is not None:
            options |= {"users": users, "user": user, "unseen": unseen, "rerank": rerank}
            options |= {"shortlist": shortlist, "explain": explain, "where": where}
            found = for_user(opened, shown, output, quiet, columns=columns, k=k, **options)
            if strict and found < k:
                say(f"error: user {user} has {found} hits, fewer than k = {k}")
                return FEW
            return 0
        if text is not None:
            asked: Any = _encoded(opened, text, model, trust_remote_code)
        else:
            asked = _query_vectors(opened, vector_file, like)
        # Columns are asked for by name, so that a wrong one is an error before the search.
        found = opened.search(asked, k, where, columns=columns or (), **options)
        if shown == "json":
            write_text(to_json(_answer(found, opened.metric, explain), indent=2), output)
        else:
            rows = _rows(found)
            write_table(rows.drop_columns(["rank"]) if shown == "table" else rows, shown, output)
        parts = [found] if asked.ndim == 1 else list(found)
        for number, hits in enumerate(parts):
            label = f"query {number}: " if asked.ndim == 2 else ""
            if number < 10 or explain:
                say(f"{label}{len(hits)} of {hits.matches:,} matches, {hits.status}", quiet)
            if explain and shown != "json":
                click.echo(str(hits.explain()), err=True)
    if strict and (short := [i for i, hits in enumerate(parts) if len(hits) < k]):
        many = f"query {short[0]}" if asked.ndim == 2 else "the query"
        say(f"error: {many} has {len(parts[short[0]])} hits, fewer than k = {k}")
        return FEW
    return 0


@click.command()
@INDEX
@VECTOR_FILE
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Without --vector-file: this many rows of the index as queries.",
)
@filter_options
@K
@RECALL
@click.option(
    "--min-recall",
    type=click.FloatRange(0, 1),
    help="Exit code 4 when the measured recall is below this.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of --sample.")
@threads_option(1, "Threads over the queries.")
@output_options(("table", "json"))
@quiet_option
def check(
    index: Path,
    vector_file: Path | None,
    sample: int,
    where: str | None,
    params: dict[str, Any],
    nulls: str | None,
    k: int,
    recall: float,
    min_recall: float | None,
    seed: int,
    threads: int,
    format_: str | None,
    output: Path | None,
    quiet: bool,
) -> int:
    """Measure recall against exact answers, on your queries and your filter.

    Rows of the index as queries (--sample) are easier than real ones: give real queries with
    --vector-file to measure what your users get.
    """
    import fanns

    with fanns.open(index) as opened:
        if vector_file is not None:
            asked = np.atleast_2d(read_vectors(vector_file))
        else:
            asked = _sample(opened, sample, seed)
        report = opened.check(
            asked, where, params, k=k, recall=recall, nulls=nulls, threads=threads
        )
    record = {
        "schema_version": SCHEMA_VERSION,
        "recall": report.recall,
        "low": report.low,
        "high": report.high,
        "target": recall,
        "min_recall": min_recall,
        "k": k,
        "queries": report.queries,
        "statuses": dict(report.statuses),
    }
    if choose_format(format_, output, "json") == "json":
        write_text(to_json(record, indent=2), output)
    else:
        write_text(render(("what", "value"), fields(record)), output)
    if min_recall is not None and report.recall < min_recall:
        say(f"error: recall {report.recall:.4f} is below --min-recall {min_recall}")
        return MISSED
    say(
        f"recall@{k} is {report.recall:.4f}, 95 % interval {report.low:.4f}-{report.high:.4f}",
        quiet,
    )
    return 0


def _encoded(index: Index, text: str, model: str | None, trust_remote_code: bool) -> Any:
    """float32[d] of a text, by the encoder that the index records."""
    from fanns.text import encode

    no_import_guard()
    return encode([text], index.model, index.dimensions, model, trust_remote_code)[0]


def _query_vectors(index: Index, vector_file: Path | None, like: str | None) -> Any:
    """float32[d], or float32[m, d] when the file holds that."""
    if vector_file is not None:
        return read_vectors(vector_file)
    assert like is not None
    return _row_vectors(index, [_key(index, like)])[0]


def _row_vectors(index: Index, keys: Any) -> Any:
    """The vectors float32[m, d] of rows by id.

    Raises:
        InputError: the index holds them transformed, and queries go in as they were before that.
    """
    if index.transforms:
        raise InputError(
            "the rows of this index are held transformed "
            f"({', '.join(index.transforms.told())}), so none of them can be the query: give "
            "vectors as they were before, by --vector-file"
        )
    table = index.get(keys, vector=True, columns=[])
    column = table.column(table.num_columns - 1).combine_chunks()
    flat = np.asarray(column.flatten()).astype(np.float32)
    return flat.reshape(len(keys), index.dimensions)


def _key(index: Index, text: str) -> int | str:
    """An id from the command line, of the type that the index has."""
    if index.info()["id"]["type"] == "string":
        return text
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--like {text!r}: the ids of this index are integers") from None


def _sample(index: Index, count: int, seed: int) -> Any:
    """The vectors of a few rows, drawn from a seed."""
    ids = index.ids()
    drawn = np.random.default_rng(seed).permutation(len(ids))[:count]
    keys = [ids[i] for i in drawn.tolist()]
    return _row_vectors(index, keys)


def _rows(found: Hits | BatchHits) -> Any:
    """Hits as a table that begins with query (in a batch) and rank."""
    import pyarrow as pa

    table = found.to_arrow()
    if "query" in table.column_names and hasattr(found, "offsets"):
        ranks = [np.arange(len(hits), dtype=np.int64) for hits in found]
        rank = np.concatenate(ranks) if ranks else np.empty(0, np.int64)
        return table.add_column(1, "rank", pa.array(rank))
    return table.add_column(0, "rank", pa.array(np.arange(table.num_rows)))


def _answer(found: Any, metric: str, explain: bool) -> dict[str, Any]:
    """The JSON form; a batch has a list of answers."""
    head = {"schema_version": SCHEMA_VERSION, "metric": metric}
    if hasattr(found, "offsets"):
        return head | {"answers": [{"query": i} | _one(h, explain) for i, h in enumerate(found)]}
    return head | _one(found, explain)


def _one(hits: Hits, explain: bool) -> dict[str, Any]:
    table = hits.to_arrow()
    record: dict[str, Any] = {
        "status": hits.status,
        "matches": hits.matches,
        "hits": [{"rank": i} | plain(row) for i, row in enumerate(table.to_pylist())],
    }
    if explain:
        record["explanation"] = plain(hits.explain().to_dict())
    return record
