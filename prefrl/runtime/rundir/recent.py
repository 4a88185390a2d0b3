"""Files with samples of the agent's recent behaviour, for normalising inputs and rewards.

The reward learner needs them at each fit, and may be another process: the agent leaves them in the
run directory, named by a number that only grows. Those that a fit used stay, so that the fit can
be repeated; the others are removed. What is in them, each side knows for itself.
"""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path

from prefrl.runtime.rundir import RunDirectory

__all__ = ["newest_recent", "tidy_recent"]

_NAME = re.compile(r"(\d{6})\.(npz|json)")


def newest_recent(run: RunDirectory) -> int:
    """The number of the newest sample; 0 where there is none yet."""
    return max(_numbers(run.recent), default=0)


def tidy_recent(run: RunDirectory, used: Container[int]) -> None:
    """Removes samples that no fit used, except the newest two, which may be about to be read."""
    for number in _numbers(run.recent)[:-2]:
        if number not in used:
            for path in run.recent.glob(f"{number:06d}.*"):
                path.unlink(missing_ok=True)


def _numbers(folder: Path) -> list[int]:
    found = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)
