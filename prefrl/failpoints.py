"""Named points at which a test can have a process killed, to see what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

__all__ = ["fail_point"]

_NAME, _, _PASSAGE = os.environ.get("PREFRL_FAIL_POINT", "").partition("@")
_ORDERS = os.environ.get("PREFRL_FAIL_POINT_FILE", "")
_passages = 0


def fail_point(name: str) -> None:
    """Kills this process with SIGKILL if it was ordered to at this point; else does nothing.

    Orders are PREFRL_FAIL_POINT, the name of a point, where ``NAME@3`` means the third time that
    it is passed; or PREFRL_FAIL_POINT_FILE, a file with the name of a point: the first process to
    pass it deletes the file and dies.

    Args:
        name: Name of the point, such as ``checkpoint:before-rename``.
    """
    global _passages
    if _ORDERS and _ordered(name):
        os.kill(os.getpid(), signal.SIGKILL)
    if name == _NAME:
        _passages += 1
        if _passages == int(_PASSAGE or 1):
            os.kill(os.getpid(), signal.SIGKILL)


def _ordered(name: str) -> bool:
    with contextlib.suppress(OSError):
        orders = Path(_ORDERS)
        if orders.read_text(encoding="utf-8") == name:
            orders.unlink()  # a second process finds nothing
            return True
    return False
