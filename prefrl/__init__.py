"""prefrl: teach an agent what you want by comparing clips.

With a Stable-Baselines3 script, hide the reward and pass a callback::

    venv = prefrl.HideReward(venv)
    PPO("MlpPolicy", venv).learn(500_000, callback=prefrl.PreferenceCallback(labels=700))

Without one::

    result = prefrl.train(prefrl.TrainConfig("HalfCheetah-v5", steps=300_000))
    print(result.summary)
"""

from prefrl.control.callback import PreferenceCallback, PreferenceConfig
from prefrl.control.hide_reward import HideReward
from prefrl.control.segments import Segment
from prefrl.control.states import RecordState
from prefrl.control.train import Result, TrainConfig, train
from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.oracle import Oracle, OracleConfig
from prefrl.core.store import LabelStore
from prefrl.errors import PrefrlError

__all__ = [
    "Answer",
    "Comparison",
    "HideReward",
    "LabelStore",
    "Oracle",
    "OracleConfig",
    "PreferenceCallback",
    "PreferenceConfig",
    "PrefrlError",
    "Query",
    "RecordState",
    "Result",
    "Segment",
    "TrainConfig",
    "train",
]
