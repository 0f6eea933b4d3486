"""Between an index and its directory: what is written where, and how it comes back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fanns.building import Recipe
from fanns.segment import BULK, Segment
from fanns.segment_arrays import STORED
from fanns.storage import Directory, SegmentFiles


def save_index(directory: Directory, recipe: Recipe, segments: Iterable[Segment]) -> None:
    """Write all segments and the recipe into a directory that is being created."""
    directory.set_settings(recipe.to_json())
    for segment in segments:
        store_segment(directory, recipe, segment)


def store_segment(directory: Directory, recipe: Recipe, segment: Segment) -> Segment:
    """Write a segment, and give it back as read from its files."""
    tables = {STORED: segment.stored} if segment.stored.num_columns else {}
    directory.add_segment(segment.meta, segment.arrays, tables, BULK)
    return _opened(directory.segments[-1], recipe)


def load_index(directory: Directory) -> tuple[Recipe, Sequence[Segment]]:
    """The recipe and the segments of a directory; arrays are mapped when first needed.

    Raises:
        CorruptIndexError: the settings or a segment's description cannot be used.
    """
    recipe = Recipe.from_json(directory.settings)
    return recipe, [_opened(files, recipe) for files in directory.segments]


def _opened(files: SegmentFiles, recipe: Recipe) -> Segment:
    return Segment.from_files(files, recipe.schema)
