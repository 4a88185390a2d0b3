"""What the agent should do, in words: for people and for AI judges."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["goal_of"]

_GOALS = {
    "HalfCheetah": "Run to the right as fast as possible.",
    "Hopper": "Hop to the right as fast as possible, without falling.",
    "Walker2d": "Walk to the right as fast as possible, upright.",
    "Ant": "Run to the right as fast as possible.",
    "Humanoid": "Walk forward, upright.",
    "HumanoidStandup": "Get up, and stand as high as possible.",
    "Swimmer": "Swim forward as fast as possible.",
    "Reacher": "Bring the tip of the arm to the target, and keep it there.",
    "Pusher": "Push the cylinder to the goal.",
    "InvertedPendulum": "Keep the pole upright.",
    "InvertedDoublePendulum": "Keep both poles upright.",
    "Pendulum": "Swing the pendulum up, and keep it upright.",
    "MovingDot": "Bring the dot into the ring, and keep it there.",
    "CartPole": "Keep the pole upright and the cart on the screen.",
    "Acrobot": "Swing the end of the arm above the line.",
    "MountainCar": "Bring the car up to the flag.",
    "LunarLander": "Land softly between the flags.",
    "BipedalWalker": "Walk to the right, without falling.",
    "CarRacing": "Drive round the track, fast and on the road.",
    "FrozenLake": "Reach the goal without falling into a hole.",
    "Pong": "Get the ball past the other paddle, and do not miss it (the right one is ours).",
    "Breakout": "Hit as many bricks as possible, and do not miss the ball.",
}
# Ids with other namespaces or modules are other tasks, whatever their names.
_NAME = re.compile(
    r"(?:(?:prefrl_envs:)?prefrl/)?(\w+?)(NoFrameskip|Deterministic|Continuous|Pixels)?-v\d+"
)


def goal_of(config: Mapping[str, Any], *, has_default: bool = True) -> str | None:
    """Returns the goal of a run's agent; None if there is none or it is unknown.

    Args:
        config: Content of the run's config.json; its goal, even an empty one, takes precedence.
        has_default: Whether to use the default goals for tasks of Gymnasium and prefrl.
    """
    if (told := config.get("goal")) is not None:
        return str(told) or None
    found = _NAME.fullmatch(str(config.get("env_id", ""))) if has_default else None
    return _GOALS.get(found[1]) if found else None
