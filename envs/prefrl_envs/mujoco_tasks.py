"""The eight MuJoCo tasks of Christiano et al. 2017 on Gymnasium's v5 models.

As in the paper's appendix A.1, there is no torque cost, since people cannot see it, and no
termination: what ended an episode costs reward instead, and the agent has to learn that. The
formulas are from one author's code (rl-teacher, ``rl_teacher/envs.py``). Observations, actions,
dynamics, frames per second and arguments are Gymnasium's, except for the arguments that are set
here. Every episode has the length that is registered with the id. MuJoCo itself resets a simulation
that diverges: all stays finite, and the speed in that one step is that of the jump to the start.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.inverted_double_pendulum_v5 import InvertedDoublePendulumEnv
from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv
from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

__all__ = [
    "Ant",
    "HalfCheetah",
    "Hopper",
    "InvertedDoublePendulum",
    "InvertedPendulum",
    "Reacher",
    "Swimmer",
    "Walker2d",
]

Step = tuple[NDArray[np.float64], np.float64, bool, bool, dict[str, np.float64]]

# Each __init__ ends with EzPickle's, for copies: Gymnasium's own __init__ records positional
# arguments, which the classes here do not take.

# Gymnasium's own cameras show Reacher and InvertedDoublePendulum too small to be judged.
_ABOVE = {"lookat": np.zeros(3), "distance": 0.8, "elevation": -90.0}
_NEAR = {"lookat": np.zeros(3), "distance": 3.6, "elevation": -20.0}


class Reacher(ReacherEnv):
    """Reach the target with the fingertip; reward: minus the distance in metres.

    Version history: v0, first release.
    """

    def __init__(self, **kwargs: Any) -> None:
        camera = {"default_camera_config": _ABOVE}
        super().__init__(reward_control_weight=0.0, **{**camera, **kwargs})
        EzPickle.__init__(self, **kwargs)


class HalfCheetah(HalfCheetahEnv):
    """Run to the right; reward: forward speed in metres per second.

    Version history: v0, first release.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(ctrl_cost_weight=0.0, **kwargs)
        EzPickle.__init__(self, **kwargs)


class Swimmer(SwimmerEnv):
    """Swim to the right; reward: forward speed in metres per second.

    Version history: v0, first release.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(ctrl_cost_weight=0.0, **kwargs)
        EzPickle.__init__(self, **kwargs)


class InvertedPendulum(InvertedPendulumEnv):
    """Balance the pole; reward: minus the square of its angle in radians.

    Version history: v0, first release.
    """

    def step(self, action: NDArray[np.float32]) -> Step:
        """One step; never terminates."""
        observation, _, _, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        return observation, -np.square(np.float64(self.data.qpos[1])), False, truncated, info


class InvertedDoublePendulum(InvertedDoublePendulumEnv):
    """Balance two poles; reward: ten times the height of the tip in metres above 1.

    Version history: v0, first release.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"default_camera_config": _NEAR, **kwargs})
        EzPickle.__init__(self, **kwargs)

    def step(self, action: NDArray[np.float32]) -> Step:
        """One step; never terminates."""
        observation, _, _, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        tip_height = self.data.site_xpos[0][2]
        return observation, 10.0 * (tip_height - 1.0), False, truncated, info


class Hopper(HopperEnv):
    """Hop to the right without falling; reward: forward speed + 1 + (height of the torso - 1).

    Version history: v0, first release.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(terminate_when_unhealthy=False, ctrl_cost_weight=0.0, **kwargs)
        EzPickle.__init__(self, **kwargs)

    def step(self, action: NDArray[np.float32]) -> Step:
        """One step; never terminates."""
        observation, _, _, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        reward = info["x_velocity"] + 1.0 + (self.data.qpos[1] - 1.0)
        return observation, reward, False, truncated, info


class Walker2d(Walker2dEnv):
    """Walk to the right without falling; reward: forward speed + 1 + (height of the torso - 2).

    Version history: v0, first release.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(terminate_when_unhealthy=False, ctrl_cost_weight=0.0, **kwargs)
        EzPickle.__init__(self, **kwargs)

    def step(self, action: NDArray[np.float32]) -> Step:
        """One step; never terminates."""
        observation, _, _, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        reward = info["x_velocity"] + 1.0 + (self.data.qpos[1] - 2.0)
        return observation, reward, False, truncated, info


class Ant(AntEnv):
    """Walk to the right on four legs; reward: forward speed + (height of the torso - 1.2).

    Version history: v0, first release.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(terminate_when_unhealthy=False, ctrl_cost_weight=0.0, **kwargs)
        EzPickle.__init__(self, **kwargs)

    def step(self, action: NDArray[np.float32]) -> Step:
        """One step; never terminates."""
        observation, _, _, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        reward = info["x_velocity"] + (self.data.qpos[2] - 1.2)
        return observation, reward, False, truncated, info
