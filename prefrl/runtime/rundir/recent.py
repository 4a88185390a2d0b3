"""Files with samples of the agent's recent behaviour, for normalising inputs and rewards.

The reward learner needs a sample for each fit, and may be another process. So the agent writes them
to the run directory, under increasing numbers. Those that a fit used are kept, so that the fit can
be repeated; the others are removed. Control and text each have their own format of samples.
"""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path

from prefrl.runtime.rundir import RunDirectory

__all__ = ["newest_recent", "tidy_recent"]

_NAME = re.compile(r"(\d{6})\.(npz|json)")


def newest_recent(run: RunDirectory) -> int:
    """Returns the number of the newest sample; 0 if there is none yet."""
    return max(_numbers(run.recent), default=0)


def tidy_recent(run: RunDirectory, used: Container[int]) -> None:
    """Removes the samples that no fit used, except the newest two, which may still be needed."""
    for number in _numbers(run.recent)[:-2]:
        if number not in used:
            for path in run.recent.glob(f"{number:06d}.*"):
                path.unlink(missing_ok=True)


def _numbers(folder: Path) -> list[int]:
    found = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)
