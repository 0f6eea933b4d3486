"""`fanns dataset recsys rerank`: second stages, trained on what users took of their shortlists."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fanns.cli_options import no_import_guard, say
from fanns.cli_output import SCHEMA_VERSION, choose_format, render, to_json, write_text
from fanns.cli_recommend import KINDS, reranker_folder
from fanns.cli_recsys_options import figure_options, shortlist_options

if TYPE_CHECKING:
    from fanns import Index
    from fanns.datasets.recsys_shortlists import Search, Shortlists


@click.command()
@shortlist_options
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    help="lightgbm: boosted trees; mlp: a network. May be given twice. Default: both.",
)
@click.option(
    "-k", type=click.IntRange(min=1), default=10, show_default=True, help="Items that are judged."
)
@figure_options
def rerank(
    dataset: Path,
    index: Path,
    kinds: tuple[str, ...],
    shortlist: int,
    k: int,
    seed: int,
    format_: str | None,
    quiet: bool,
) -> None:
    """Train rerankers of a data set that `fit` wrote, and measure them.

    They learn from the validation part, which no model was fitted on (trained models stopped by
    it), with what training saw left out; figures are of the test part, with both left out. Each
    reranker is written into a folder of the data set, where `fanns query --rerank` finds it.

    \b
    fanns dataset recsys rerank lastfm/ --index lastfm.fanns
    fanns query lastfm.fanns --users lastfm/users.parquet --user 42 --unseen --rerank lightgbm
    """
    import pyarrow.parquet as pq

    import fanns
    from fanns.datasets import recsys_frame, recsys_rerank_training, recsys_shortlists

    no_import_guard()
    items = pq.read_table(dataset / "items.parquet")
    users = pq.read_table(dataset / "users.parquet")
    columns = recsys_frame.learn(items, users)
    with fanns.open(index) as opened:
        search = shortlists(opened, columns.wanted, shortlist)

        def made(label: str, *left_out: str) -> Shortlists:
            say(f"making shortlists of {shortlist} for the {label} part", quiet)
            return recsys_shortlists.gather(
                columns, items, users, search, label=label, left_out=left_out
            )

        learned = made("valid", "seen")
        tested = made("test", "seen", "valid")
    records = [_record("none", tested, items, users, k, None)]
    for kind in kinds or KINDS:
        say(f"training {kind} on {len(learned.users):,} shortlists", quiet)
        trained = recsys_rerank_training.train(kind, columns, learned.examples, seed=seed)
        trained.save(reranker_folder(dataset, kind))
        records.append(_record(kind, tested, items, users, k, trained))
    if choose_format(format_, None, "json") == "json":
        told = {"schema_version": SCHEMA_VERSION, "shortlist": shortlist, "rerankers": records}
        write_text(to_json(told, indent=2), None)
    else:
        write_text(_table(records, k), None)
    best = max(records, key=lambda one: one["metrics"][f"ndcg@{k}"])["kind"]
    if best == "none":
        say("none orders better than the index itself: leave --rerank out", quiet)
        return
    asked = [index, "--users", dataset / "users.parquet", "--user", users["id"][0].as_py()]
    words = shlex.join(map(str, asked))
    say(f"try: fanns query {words} --unseen --rerank {best}", quiet)


def _table(records: list[dict[str, Any]], k: int) -> str:
    rows = [
        (
            one["kind"],
            *(f"{one['metrics'][f'{name}@{k}']:.4f}" for name in ("ndcg", "recall")),
            f"{one['cpu_seconds']:.1f}",
            f"{one['us_per_candidate']:.2f}",
        )
        for one in records
    ]
    head = ("reranker", f"ndcg@{k}", f"recall@{k}", "CPU seconds to train", "us a candidate")
    return render(head, rows)


def shortlists(index: Index, wanted: list[str], shortlist: int) -> Search:
    """Shortlists of an index, with the columns that features are made of."""
    from fanns import ids
    from fanns.recommend import id_values

    def search(vectors: Any, left_out: list[Any]) -> list[Any]:
        found = []
        for vector, out in zip(vectors, left_out, strict=True):
            where = ~ids(id_values(out)) if len(out) else None
            hits = index.search(vector, shortlist, where, columns=wanted)
            found.append(hits.to_arrow(wanted))
        return found

    return search


def _record(
    kind: str, tested: Shortlists, items: Any, users: Any, k: int, trained: Any
) -> dict[str, Any]:
    """The figures of one reranker, None for the order of the vectors."""
    from fanns.datasets.recsys_shortlists import measure

    model = None if trained is None else trained.model
    begun = time.process_time()
    if model is not None:
        model.predict(tested.examples.features)
    took = time.process_time() - begun
    measured = measure(tested, items, users, "test", model, ks=(k,))
    return {
        "kind": kind,
        "metrics": measured.values,
        "users": measured.users,
        "cpu_seconds": 0.0 if trained is None else trained.report["cpu_seconds"],
        "us_per_candidate": 1e6 * took / max(len(tested.items), 1),
        "report": {} if trained is None else trained.report,
    }
