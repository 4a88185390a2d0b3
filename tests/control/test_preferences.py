"""Settings of the preference loop: when labels are due."""

from dataclasses import asdict, replace

import pytest

from prefrl.control.preferences import PreferenceConfig
from prefrl.control.queries import QueryConfig
from prefrl.errors import ConfigError


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


def test_the_selection_may_be_given_by_its_name():
    config = PreferenceConfig(selection="uniform", query=QueryConfig(oversampling=3))
    assert (config.query.selection, config.query.oversampling) == ("uniform", 3)
    assert replace(config, labels=5).query == config.query
    assert "selection" not in asdict(config)
    with pytest.raises(ConfigError, match="expected selection to be one of"):
        PreferenceConfig(selection="best")
