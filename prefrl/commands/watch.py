"""``prefrl watch``: a film of an agent, of any length."""

from __future__ import annotations

import os
import webbrowser
from dataclasses import dataclass
from pathlib import Path

import tyro

from prefrl.commands.console import console, errors
from prefrl.commands.train import open_agent_run
from prefrl.control.films.drawing import Recorded, film_reel
from prefrl.control.finish import load_run
from prefrl.control.policies.evaluate import Evaluation, evaluate
from prefrl.control.policies.kept import choose_policy
from prefrl.errors import ConfigError

__all__ = ["Watch", "watch"]


@dataclass(frozen=True)
class Watch:
    """Makes a film of whole episodes of an agent, and shows it if there is a screen."""

    run: tyro.conf.Positional[Path]
    """Directory of the run, finished or not."""
    episodes: int = 1
    """How many episodes."""
    steps: int | None = None
    """Cut an episode after this many steps; by default as in the run's evaluation."""
    checkpoint: str | None = None
    """Which policy, as for prefrl evaluate: best, latest, or a step."""
    seed: int = 0
    """Seed of the environments."""
    stochastic: bool = False
    """Let the agent sample its actions instead of taking the most likely ones."""
    size: int = 480
    """Side of the pictures in pixels, for MuJoCo and games; other environments have their own
    size."""
    output: Path | None = None
    """File of the film, .webm or .mp4; by default films/watch.webm in the run."""
    show: bool = True
    """Open the film if there is a screen."""

    def __post_init__(self) -> None:
        for name in ("episodes", "steps", "size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}.")
        if self.output is not None and self.output.suffix not in (".webm", ".mp4"):
            raise ConfigError(f"expected output to end in .webm or .mp4, got {self.output}.")
        if self.output is not None and not self.output.absolute().parent.is_dir():
            raise ConfigError(
                f"expected to write {self.output}, but there is no folder "
                f"{self.output.absolute().parent}; make it, or choose another place."
            )


def watch(command: Watch) -> None:
    """Runs episodes, has them drawn, and prints where the film is."""
    run = open_agent_run(command.run, instead="what it writes is in its report")
    policy = choose_policy(run, command.checkpoint)
    config, agent, _ = load_run(run, policy=policy)
    played: list[Evaluation] = []
    for number in range(command.episodes):
        played.append(
            evaluate(
                agent,
                config.env_id,
                episodes=1,
                seed=command.seed + number,
                deterministic=not command.stochastic,
                max_steps=command.steps or config.eval_max_steps,
                env=config.env,
            )
        )
        found = played[-1]
        cut = ", cut" if found.n_cut else ""
        told = f"episode {number + 1}: true return {found.returns[0]:,.1f}"
        console.print(f"{told}, {found.true_rewards.shape[1]:,} steps{cut}", markup=False)
    agent.close()
    path = command.output or run.films / "watch.webm"
    path.parent.mkdir(parents=True, exist_ok=True)
    recorded = [Recorded(one.states, one.journals) for one in played]
    film_reel(config.env_id, recorded, path, size=command.size, env=config.env)
    console.print(f"{policy.name}: {path}", markup=False, soft_wrap=True)
    if command.show and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        if not webbrowser.open(path.absolute().as_uri()):
            errors.print("No program here can show it; open the file yourself.", style="yellow")
