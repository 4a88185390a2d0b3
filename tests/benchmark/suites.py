"""A suite that is done in seconds."""

import yaml

from prefrl.benchmark.suite import suite_of_json

DOT = "prefrl_envs:prefrl/MovingDot-v0"
TEXT = f"""
about: Small.
seeds: [0, 1]
options:
  steps: 512
  eval_episodes: 2
  segment_length: 5
  warmup_segments: 10
  checkpoint_seconds: 0
  agent: {{n_envs: 2, n_steps: 64}}
tasks:
  {DOT}:
arms:
  true reward: {{true_reward: true}}
  6 labels: {{labels: 6}}
"""


def small_suite(**changes):
    """The suite of ``TEXT`` with one seed."""
    return suite_of_json({"name": "small", **yaml.safe_load(TEXT), "seeds": [0], **changes})


def written(path, text=TEXT):
    path.write_text(text)
    return path
