import numpy as np
import pytest

from fanns.bit_codes import BitCodes
from fanns.centroids import Centroids
from fanns.clusters import cluster_order
from fanns.codes import Int8Codes
from fanns.paths.clusters import ClustersPath
from fanns.paths.locality import Locality
from fanns.selection import Selection
from fanns.vectors import DenseVectors


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_lift_tells_filters_that_follow_ignore_or_avoid_the_query(metric: str, coded: bool) -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, 24)).astype(np.float32) * 3
    labels = rng.integers(0, 20, 3_000)
    rows = centres[labels] + rng.standard_normal((3_000, 24)).astype(np.float32)
    order, offsets, middles = cluster_order(rows, metric, 0)
    vectors = DenseVectors.from_array(
        np.ascontiguousarray(rows[order]), {"cosine": 0, "l2": 1, "ip": 2}[metric]
    )
    codes = Int8Codes.build(vectors)
    centroids = Centroids(offsets, middles, np.zeros(len(middles)), codes.mean)
    bits = BitCodes.build(vectors, codes.mean, 1, offsets, middles, bits=2) if coded else None
    path = ClustersPath(vectors, codes, np.arange(3_000), centroids, bits)
    locality = Locality(codes, offsets, path.ranks)
    queries = np.ascontiguousarray(centres[:5])
    for i, query in enumerate(queries):
        own = labels[order] == i
        follows = Selection.from_mask(own)
        avoids = Selection.from_mask(~own & (rng.random(3_000) < 0.5))
        ignores = Selection.from_mask(rng.random(3_000) < 0.5)
        assert locality.lift(query[None], follows)[0] > 3
        assert locality.lift(query[None], avoids)[0] < 0.8
        assert 0.7 < locality.lift(query[None], ignores)[0] < 1.3
    assert locality.lift(queries, Selection.all(3_000)).tolist() == [1.0] * 5
    assert locality.lift(queries, Selection.none(3_000)).tolist() == [0.0] * 5
