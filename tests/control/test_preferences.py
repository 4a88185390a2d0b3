"""Settings of the preference loop: when labels are due."""

import dataclasses

import pytest

from prefrl import PreferenceConfig, QueryConfig
from prefrl.errors import ConfigError


def test_settings_of_queries_may_be_given_directly():
    config = PreferenceConfig(labels=7, selection="uniform", query=QueryConfig(warmup_segments=9))
    assert config == PreferenceConfig(
        labels=7, query=QueryConfig(selection="uniform", warmup_segments=9)
    )
    assert dataclasses.replace(config, max_open=3).query == dataclasses.replace(
        config.query, max_open=3
    )
    with pytest.raises(ConfigError, match="got 'nonsense'"):
        PreferenceConfig(selection="nonsense")


@pytest.mark.parametrize(
    ("total_steps", "steps_between", "all_due"),
    [
        (100_000, 1000, 95_000),
        (100_000, 20_000, 80_000),
        (101, 1, 95),  # 5.05 steps are too many
        (400, 400, 1),
        (300, 400, 1),
    ],
)
def test_all_labels_are_due_before_the_last_rollout_and_the_last_steps(
    total_steps, steps_between, all_due
):
    config = PreferenceConfig(labels=1000)
    schedule = config.label_schedule(total_steps, steps_between=steps_between)
    assert schedule.due(all_due) == 1000 > schedule.due(all_due - 1)
