"""What a fit did: the origin of a figure, for manifests and tables."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class FitReport:
    """What a training did: enough to tell a figure's origin, and to judge whether it ended well.

    Attributes:
        config: all settings of model and training. config_hash: of those, 12 hexadecimal digits.
        curve: epoch, mean loss, seconds of processor time so far, and the validation's figure
            where there was one.
        best_epoch: the epoch whose parameters are kept. best: its figure on validation.
        stopped: "patience", "epochs" or "seconds".
    """

    model: str
    config: dict[str, Any]
    data_hash: str | None = None
    curve: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int | None = None
    best: float | None = None
    stopped: str = "epochs"
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def config_hash(self) -> str:
        text = json.dumps([self.model, self.config], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def as_json(self) -> dict[str, Any]:
        """Everything, for a manifest."""
        return asdict(self) | {"config_hash": self.config_hash}


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python and of some installed packages, numpy and scipy among them."""
    from importlib.metadata import version

    names = ("numpy", "scipy", *packages)
    return {"python": platform.python_version()} | {name: version(name) for name in names}
