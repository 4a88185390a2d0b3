"""What docs/taking_along.md says works, works."""

import re
from pathlib import Path

from prefrl import PreferenceConfig, TrainConfig, load_reward, train
from prefrl.control.agent.config import AgentConfig

PAGE = Path(__file__).parents[3] / "docs" / "taking_along.md"


def test_the_scripts_that_are_shown_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(
        "HalfCheetah-v5",
        steps=2_048,
        sync=True,
        films=False,
        eval_episodes=1,
        eval_max_steps=50,
        run=tmp_path / "runs" / "mine",
        preferences=PreferenceConfig(labels=10),
        agent=AgentConfig(n_envs=2, n_steps=1024, batch_size=256, n_epochs=1),
    )
    train(config)
    names = {}
    for script in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(script, names)  # noqa: S102 the page's own
    assert load_reward(tmp_path / "rewards" / "mine").about["labels"] == 10
    assert (tmp_path / "rewards" / "mine" / "README.md").is_file()
