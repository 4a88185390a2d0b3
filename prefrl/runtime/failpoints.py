"""Named points at which a test may have a process killed, to see what is left of its work."""

from __future__ import annotations

import os
import signal

__all__ = ["fail_point"]

_NAME, _, _PASSAGE = os.environ.get("PREFRL_FAIL_POINT", "").partition("@")
_passages = 0


def fail_point(name: str) -> None:
    """Kills this process with SIGKILL if PREFRL_FAIL_POINT names this point.

    ``NAME@3`` means the third time that the point is passed. Without the variable nothing happens.

    Args:
        name: Such as ``checkpoint:before-rename``.
    """
    global _passages
    if name != _NAME:
        return
    _passages += 1
    if _passages == int(_PASSAGE or 1):
        os.kill(os.getpid(), signal.SIGKILL)
