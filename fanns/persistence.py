"""Between an index and its directory: what is written where, and how it comes back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fanns.building import Recipe
from fanns.errors import CorruptIndexError, InputError
from fanns.paths.graph_builder import MIN_ROWS
from fanns.schema import Schema
from fanns.segment import BULK, Segment
from fanns.segment_arrays import STORED
from fanns.segment_native import STORE, NativeSegment
from fanns.storage import Directory
from fanns.stored_segment import Addition, SegmentFiles
from fanns.transforms import NONE, Transforms


def save_index(directory: Directory, recipe: Recipe, segments: Iterable[Segment]) -> None:
    """Write all segments and the recipe into a directory that is being created."""
    share_transforms(directory, recipe)
    directory.set_settings(recipe.to_json())
    for segment in segments:
        directory.commit([addition(segment)])


def addition(segment: Segment, place: int | None = None) -> Addition:
    """How a segment is written; `place`: that of the segment that it stands for."""
    tables = {STORED: segment.stored} if segment.stored.num_columns else {}
    packed = segment.n < MIN_ROWS
    return Addition(segment.meta, segment.arrays, tables, BULK, place, packed)


def load_index(directory: Directory) -> tuple[Recipe, Sequence[Segment]]:
    """The recipe and the segments of a directory; arrays are mapped when first needed.

    Raises:
        CorruptIndexError: the settings or a segment's description cannot be used.
    """
    recipe = recipe_in(directory)
    return recipe, [opened(files, recipe.schema) for files in directory.segments]


def recipe_in(directory: Directory) -> Recipe:
    """The recipe of a whole index.

    Raises:
        CorruptIndexError: it cannot be used.
    """
    return Recipe.from_json(directory.settings, shared_transforms(directory))


def share_transforms(directory: Directory, recipe: Recipe) -> None:
    """Write the transforms of an index that is being created; settings that name them follow."""
    if recipe.transforms:
        directory.share(recipe.transforms.bundle())


def shared_transforms(directory: Directory) -> Transforms:
    """The transforms that all segments of a directory share.

    Raises:
        CorruptIndexError: they cannot be used.
    """
    if directory.shared is None:
        return NONE
    try:
        return Transforms.restore(directory.shared)
    except InputError as error:
        raise CorruptIndexError(f"{directory.path}: {error}") from error


def refresh_index(
    directory: Directory, recipe: Recipe, segments: Sequence[Segment]
) -> tuple[Recipe, list[Segment]] | None:
    """The recipe and segments of the last committed state, None where these are of it.

    What did not change is taken over from `segments`, opened and checked as it is.
    """
    settings = directory.settings
    held = {
        files.id: (files, segment)
        for files, segment in zip(directory.segments, segments, strict=True)
    }
    if not directory.refresh():
        return None
    if directory.settings != settings:
        recipe = recipe_in(directory)
    after = []
    for files in directory.segments:
        before, segment = held.get(files.id, (None, None))
        if before is None or segment is None:
            after.append(opened(files, recipe.schema))
        elif before.record == files.record and segment.schema is recipe.schema:
            after.append(segment)
        else:
            changed = changed_columns(before, files, recipe.schema)
            after.append(segment.edited_files(files, recipe.schema, changed))
    return recipe, after


def changed_columns(before: SegmentFiles, after: SegmentFiles, schema: Schema) -> set[str]:
    """The columns that are not held as they were; all of them after a change of types."""
    altered = set(before.record.arrays) ^ set(after.record.arrays)
    names = {record.name for record in altered}
    if STORED in names:
        return set(schema)
    return {name.rpartition("/")[0].partition("/")[2] for name in names}


def opened(files: SegmentFiles, schema: Schema) -> Segment:
    """A stored segment; nothing but its description, and which rows are live, is read."""
    kind = NativeSegment if files.meta.get(STORE) is not None else Segment
    return kind.from_files(files, schema)
