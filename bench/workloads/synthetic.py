"""Simulated arXiv-like data of any size as a corpus, and what of arXiv's records filters use."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fanns.bench.workloads.board import Corpus, Declaration
from fanns.datasets import arxiv_like
from fanns.datasets.dataset import vectors

# Named workloads of another edition are made anew.
EDITION = arxiv_like.EDITION

# Of arXiv's records, real or simulated, and of what `attributes` derives from them.
DECLARATION = Declaration(
    equality=("primary_category", "archive", "number_of_sub_categories", "has_comments"),
    contains=("categories", "main_categories", "authors"),
    range=("submitted_date", "update_date", "word_length"),
    correlate_with="primary_category",
)


def corpus(rows: int, dimensions: int, queries: int, seed: int = 0) -> Corpus:
    """Items and queries of `fanns.datasets.arxiv_like`: float32[rows, dimensions] of unit length,
    simulated, and queries float32[queries, dimensions].
    """
    items = arxiv_like.items(rows, dimensions, seed)
    asked = arxiv_like.queries(queries, dimensions, seed)
    return Corpus(
        vectors=np.ascontiguousarray(vectors(items)),
        attributes=attributes(items),
        queries=np.ascontiguousarray(vectors(asked)),
        asked=asked.select(["primary_category"]),
        source=f"fanns.datasets.arxiv_like, {rows} rows of {dimensions} dimensions",
        model="simulated",
        seed=seed,
    )


def attributes(records: pa.Table) -> pa.Table:
    """The columns that filters speak of, from arXiv records.

    As they are: primary_category, categories, authors (null where unknown), submitted_date,
    updated_date (null: never). Derived, after the paper's attributes where it has them:

    archive                    string: the primary category up to its dot
    main_categories            list: the archives of all categories, each once, sorted
    number_of_sub_categories   int32: how many categories
    number_of_authors          int32: how many authors, null where unknown
    update_date                date: updated_date, else submitted_date
    has_comments               bool: whether there are comments
    word_length                float64: characters per word of the abstract
    """
    text = records["abstract"]
    words = pc.add(pc.count_substring(text, " "), 1)
    table = records.select(
        ["primary_category", "categories", "authors", "submitted_date", "updated_date"]
    )
    for name, column in {
        "archive": _archive(records["primary_category"]),
        "main_categories": _main_categories(records["categories"]),
        "number_of_sub_categories": pc.list_value_length(records["categories"]),
        "number_of_authors": pc.list_value_length(records["authors"]),
        "update_date": pc.coalesce(records["updated_date"], records["submitted_date"]),
        "has_comments": pc.is_valid(records["comments"]),
        "word_length": pc.divide(pc.utf8_length(text).cast(pa.float64()), words.cast(pa.float64())),
    }.items():
        table = table.append_column(name, column)
    return table.replace_schema_metadata(None).combine_chunks()


def _archive(names: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring_regex(names, r"\..*", "")


def _main_categories(lists: pa.ChunkedArray) -> pa.Array:
    found = [
        None if own is None else sorted({name.partition(".")[0] for name in own})
        for own in lists.to_pylist()
    ]
    return pa.array(found, pa.list_(pa.string()))
