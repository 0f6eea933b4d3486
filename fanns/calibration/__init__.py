"""What a segment's planner knows of its paths, measured once at build and stored with it."""

from fanns.calibration.measure import measure
from fanns.calibration.model import DEFAULT, Calibration
from fanns.calibration.samples import sample_queries

__all__ = ["DEFAULT", "Calibration", "measure", "sample_queries"]
