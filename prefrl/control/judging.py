"""Sets up an AI judge of clips or films: its task, and a test question before the run starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from prefrl.control.films.exhibit import JUDGED_SIZE, pair_picture, picture_part
from prefrl.control.goals import goal_of
from prefrl.runtime.judge.config import JudgeConfig, Task, task_for
from prefrl.runtime.judge.serving import try_judge
from prefrl.runtime.own.folder import is_own

__all__ = ["clips_task"]

_TRIAL = "The picture shows A in its left column and B in its right one."
_GREY, _LIGHT = 96, 224


def clips_task(judge: JudgeConfig, config: Mapping[str, Any]) -> Task:
    """Returns the task of a judge of clips or films, after it has answered a test question.

    Args:
        judge: The judge's settings.
        config: Content of the run's config.json.

    Raises:
        ConfigError: If it does not answer, or nothing says what is better.
    """
    task = task_for(judge, "films" if is_own(config) else "clips", goal_of(config))
    shape = (judge.frames, JUDGED_SIZE, JUDGED_SIZE, 3)
    columns = [np.full(shape, value, np.uint8) for value in (_GREY, _LIGHT)]
    try_judge(task, [{"type": "text", "text": _TRIAL}, picture_part(pair_picture(*columns))])
    return task
