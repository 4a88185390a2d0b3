"""prefrl: teach an agent what you want by comparing clips.

With a Stable-Baselines3 script, hide the reward and pass a callback::

    venv = prefrl.HideReward(venv)
    PPO("MlpPolicy", venv).learn(500_000, callback=prefrl.PreferenceCallback(labels=700))

Without one::

    result = prefrl.train(prefrl.TrainConfig("HalfCheetah-v5", steps=300_000))
    print(result.summary)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefrl.commands.script import finish_script
    from prefrl.control.agent.building import agent_settings
    from prefrl.control.agent.callback import PreferenceCallback
    from prefrl.control.agent.config import AgentConfig
    from prefrl.control.agent.replay_buffer import RelabelledReplayBuffer
    from prefrl.control.agent.script_run import resume_script
    from prefrl.control.config import TrainConfig
    from prefrl.control.environments.adapting import adapt_spaces
    from prefrl.control.environments.hide_reward import HideReward
    from prefrl.control.environments.one import record_for_films
    from prefrl.control.environments.source import EnvConfig
    from prefrl.control.environments.states import RecordState
    from prefrl.control.finish import Result
    from prefrl.control.learned.episodes import Drawing
    from prefrl.control.learned.offline import fit_reward
    from prefrl.control.learned.reward import Reward, load_reward
    from prefrl.control.learned.wrapping import LearnedReward
    from prefrl.control.policies.loaded import Policy, load_policy
    from prefrl.control.preferences import PreferenceConfig
    from prefrl.control.presets import preset
    from prefrl.control.queries import QueryConfig
    from prefrl.control.reward.config import RewardNetConfig
    from prefrl.control.segments import Segment
    from prefrl.control.train import extend, resume, train
    from prefrl.core.comparisons import Answer, Comparison, Query
    from prefrl.core.oracle import Oracle, OracleConfig
    from prefrl.core.store import LabelStore
    from prefrl.core.trainer import FitConfig
    from prefrl.errors import PrefrlError
    from prefrl.runtime.rundir import RunDirectory

__all__ = [
    "AgentConfig",
    "Answer",
    "Comparison",
    "Drawing",
    "EnvConfig",
    "FitConfig",
    "HideReward",
    "LabelStore",
    "LearnedReward",
    "Oracle",
    "OracleConfig",
    "Policy",
    "PreferenceCallback",
    "PreferenceConfig",
    "PrefrlError",
    "Query",
    "QueryConfig",
    "RecordState",
    "RelabelledReplayBuffer",
    "Result",
    "Reward",
    "RewardNetConfig",
    "RunDirectory",
    "Segment",
    "TrainConfig",
    "adapt_spaces",
    "agent_settings",
    "extend",
    "finish_script",
    "fit_reward",
    "load_policy",
    "load_reward",
    "preset",
    "record_for_films",
    "resume",
    "resume_script",
    "train",
]

_MODULES = {
    "prefrl.commands.script": ("finish_script",),
    "prefrl.control.agent.building": ("agent_settings",),
    "prefrl.control.agent.callback": ("PreferenceCallback",),
    "prefrl.control.agent.config": ("AgentConfig",),
    "prefrl.control.agent.replay_buffer": ("RelabelledReplayBuffer",),
    "prefrl.control.agent.script_run": ("resume_script",),
    "prefrl.control.config": ("TrainConfig",),
    "prefrl.control.finish": ("Result",),
    "prefrl.control.learned.episodes": ("Drawing",),
    "prefrl.control.learned.offline": ("fit_reward",),
    "prefrl.control.learned.reward": ("Reward", "load_reward"),
    "prefrl.control.learned.wrapping": ("LearnedReward",),
    "prefrl.control.policies.loaded": ("Policy", "load_policy"),
    "prefrl.control.environments.adapting": ("adapt_spaces",),
    "prefrl.control.environments.hide_reward": ("HideReward",),
    "prefrl.control.environments.one": ("record_for_films",),
    "prefrl.control.environments.source": ("EnvConfig",),
    "prefrl.control.preferences": ("PreferenceConfig",),
    "prefrl.control.presets": ("preset",),
    "prefrl.control.queries": ("QueryConfig",),
    "prefrl.control.reward.config": ("RewardNetConfig",),
    "prefrl.control.segments": ("Segment",),
    "prefrl.control.environments.states": ("RecordState",),
    "prefrl.control.train": ("extend", "resume", "train"),
    "prefrl.core.comparisons": ("Answer", "Comparison", "Query"),
    "prefrl.core.oracle": ("Oracle", "OracleConfig"),
    "prefrl.core.store": ("LabelStore",),
    "prefrl.core.trainer": ("FitConfig",),
    "prefrl.errors": ("PrefrlError",),
    "prefrl.runtime.rundir": ("RunDirectory",),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Imports a public name at first use: torch takes seconds, and labelling does not need it."""
    if name not in _WHERE:
        raise AttributeError(f"module 'prefrl' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
