"""The run directory: all paths of a run, and how its small files are written.

::

    RUN/
      config.json            all settings of the run
      spaces.json            the agent's observation and action spaces at the start
      versions.json          versions of the packages that it uses
      script.json            only if a user's script made the run, instead of prefrl train
      metrics.csv            one row per rollout, or per 1,000 steps where rollouts are short
      fits.csv               one row per fit of the reward ensemble
      guard.csv              one row per check of the guard
      labels.db              queries and answers (core.store)
      store.json             where they are instead, if they are on a PostgreSQL server
      taken/                 from earlier runs or data: labels.json or data.json, reward weights
      items/ID.npz           the segments that were asked about
      truth/ID.npz           their true rewards, for oracles and evaluation only
      recent/                samples of the agent's recent behaviour, for the reward's normalisation
      reward/                weights of the reward ensemble, with their normalisation
      holdout.npz            predictions of the newest fit for comparisons outside its bags
      checkpoints/           the agent's two newest checkpoints
      replay/                replay buffer of an off-policy agent, for its checkpoints
      status/ROLE.json       what each role is doing
      logs/ROLE.log          output of each role
      dump-ROLE.json         state of a role that stopped because of NaN or infinite numbers
      locks/                 locks of the roles' processes
      policy.zip             the agent, as Stable-Baselines3 saves it
      observation_stats.npz  mean and variance that normalise the policy's observations
      evaluations.csv        one row per evaluation in training
      policies/STEP/         the policies of these evaluations, each like policy.zip
      evaluation.npz         predicted against true reward along evaluation episodes
      summary.json           the result in a few numbers; written last
      model/                 a language model, in the format of Hugging Face
      adapter/               its adapters, if they were trained, in the format of PEFT
      samples.jsonl          responses of a language model during the training
      examples.json          responses of a language model before and after the training
      judge/                 an AI judge's rubric and settings, and its answers
      media/ID.webm          films of segments that people are shown, named by their content
      page.json              where the labelling page is served
      viewer.db              sign-in links and sessions of the labelling page
      reward_token           token for requests to prefrl serve-reward; only its owner can read it
      films/                 before.webm, after.webm and film strips of informative pairs
      report/                index.html and a PNG per figure
      export/                what prefrl export wrote
      tensorboard/
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefrl.core.disk import in_words
from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir.checks import check_told, what_takes
from prefrl.runtime.rundir.versions import check_format
from prefrl.runtime.rundir.writing import write_atomically

__all__ = ["RunDirectory"]


class RunDirectory:
    """The paths of a run's files.

    Args:
        root: The directory. It need not exist yet.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    @classmethod
    def create(cls, root: str | os.PathLike[str], *, database: str | None = None) -> RunDirectory:
        """Makes a new, empty run directory.

        Args:
            root: Path of the directory.
            database: PostgreSQL database for the answers, as ``new_store`` takes it, if any.

        Raises:
            RunDirectoryError: If the path is taken, or cannot be written to.
            PrefrlError: If the database cannot get a store. Then no directory is made.
        """
        run = cls(root)
        try:
            if taken := what_takes(run.root):
                raise RunDirectoryError(
                    f"expected a new run directory, but {run.root} {taken}; choose another --run, "
                    "or move it away."
                )
            run._make(database)
        except OSError as error:
            raise RunDirectoryError(in_words(error)) from error
        return run

    def _make(self, database: str | None) -> None:
        """Makes the folders and, in a database, the label store; drops the store if that fails."""
        if database is None:
            return self.make_folders()
        from prefrl.core.store.on_server import drop_store, new_store  # they load SQLAlchemy

        place = new_store(database, self.root.resolve().name)
        try:
            self.make_folders()
            self.write_json(self.store, {"place": place})
        except BaseException:
            drop_store(place)
            raise

    def remove(self) -> None:
        """Removes the directory of a run that has not begun, and its label store."""
        from prefrl.core.store.on_server import drop_store

        try:
            if self.store.is_file():
                drop_store(self.label_store)
        finally:
            shutil.rmtree(self.root)

    @classmethod
    def open(cls, root: str | os.PathLike[str], *, may_be_page: bool = False) -> RunDirectory:
        """Opens the directory of a run that was started.

        Args:
            root: The directory.
            may_be_page: Whether it may have only the labelling page of a run on another machine.

        Raises:
            RunDirectoryError: If it is not a run's directory, cannot be read, or has the format of
                another release.
        """
        run = cls(root)
        try:
            is_run = run.config.is_file()
        except OSError as error:
            raise RunDirectoryError(in_words(error)) from error
        if not is_run:
            raise RunDirectoryError(
                f"expected a run directory with a config.json, but {run.root} has none; "
                "give the directory that `prefrl train` printed."
            )
        check_format(run.versions)
        check_told(run.read_json(run.config), run.root, run.store, may_be_page=may_be_page)
        return run

    def check_unfinished(self) -> None:
        """Refuses a finished run.

        Raises:
            RunDirectoryError: If the run is finished.
        """
        if self.summary.is_file():
            raise RunDirectoryError(
                f"expected a run that is not finished, got {self.root}; look at it with prefrl "
                f"report {self.root}, or continue an agent's run with prefrl extend."
            )

    def make_folders(self) -> None:
        """Makes the folders that do not exist yet."""
        in_all = (self.items, self.truth, self.recent, self.reward, self.checkpoints, self.status)
        for folder in (*in_all, self.logs, self.locks, self.media, self.films, self.report):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def config(self) -> Path:
        """The settings of the run."""
        return self.root / "config.json"

    @property
    def spaces(self) -> Path:
        """The agent's observation and action spaces at the start of the run."""
        return self.root / "spaces.json"

    @property
    def script(self) -> Path:
        """Exists if a user's script started the run, instead of ``prefrl train``."""
        return self.root / "script.json"

    @property
    def versions(self) -> Path:
        """Versions of the packages that the run uses."""
        return self.root / "versions.json"

    @property
    def metrics(self) -> Path:
        """One row per rollout."""
        return self.root / "metrics.csv"

    @property
    def fits(self) -> Path:
        """One row per fit of the reward ensemble."""
        return self.root / "fits.csv"

    @property
    def guard(self) -> Path:
        """One row per check of the guard."""
        return self.root / "guard.csv"

    @property
    def labels(self) -> Path:
        """The label store's file, unless the store is on a server."""
        return self.root / "labels.db"

    @property
    def store(self) -> Path:
        """Where the label store is, if it is on a server."""
        return self.root / "store.json"

    @property
    def label_store(self) -> str:
        """Path or URL of the label store."""
        if self.store.is_file():
            return str(self.read_json(self.store)["place"])
        return str(self.labels)

    @property
    def has_labels(self) -> bool:
        """Whether there is a label store; opening a missing one would create it."""
        return self.store.is_file() or self.labels.is_file()

    @property
    def taken(self) -> Path:
        """The folder of answers and rewards taken from other runs."""
        return self.root / "taken"

    @property
    def items(self) -> Path:
        """The folder of items that were asked about."""
        return self.root / "items"

    @property
    def truth(self) -> Path:
        """The folder of their true rewards."""
        return self.root / "truth"

    @property
    def recent(self) -> Path:
        """The folder of samples of the agent's recent behaviour."""
        return self.root / "recent"

    @property
    def holdout(self) -> Path:
        """Predictions of the newest fit for comparisons outside its bags."""
        return self.root / "holdout.npz"

    @property
    def checkpoints(self) -> Path:
        """The folder of the agent's checkpoints."""
        return self.root / "checkpoints"

    @property
    def replay(self) -> Path:
        """The folder of an off-policy agent's replay buffer."""
        return self.root / "replay"

    @property
    def status(self) -> Path:
        """The folder of the roles' status files."""
        return self.root / "status"

    @property
    def logs(self) -> Path:
        """The folder of the roles' output."""
        return self.root / "logs"

    def dump(self, role: str) -> Path:
        """State of a role that stopped because of NaN or infinite numbers."""
        return self.root / f"dump-{role}.json"

    @property
    def locks(self) -> Path:
        """The folder of the locks of the roles' processes."""
        return self.root / "locks"

    @property
    def reward(self) -> Path:
        """The folder of the reward ensemble's weights."""
        return self.root / "reward"

    @property
    def wanted(self) -> Path:
        """Number of answers to which the agent wants a fit; the file is absent before it asks."""
        return self.reward / "wanted.json"

    @property
    def policy(self) -> Path:
        """The agent."""
        return self.root / "policy.zip"

    @property
    def model(self) -> Path:
        """The language model."""
        return self.root / "model"

    @property
    def samples(self) -> Path:
        """What the language model wrote."""
        return self.root / "samples.jsonl"

    @property
    def examples(self) -> Path:
        """Responses of the language model to the same prompts, before and after."""
        return self.root / "examples.json"

    @property
    def observation_stats(self) -> Path:
        """Mean and variance that normalise the policy's observations."""
        return self.root / "observation_stats.npz"

    @property
    def evaluations(self) -> Path:
        """One row per evaluation in training."""
        return self.root / "evaluations.csv"

    @property
    def policies(self) -> Path:
        """The folder of the policies that were evaluated in training."""
        return self.root / "policies"

    @property
    def evaluation(self) -> Path:
        """Predicted against true reward along evaluation episodes."""
        return self.root / "evaluation.npz"

    @property
    def summary(self) -> Path:
        """The result in a few numbers."""
        return self.root / "summary.json"

    @property
    def judge(self) -> Path:
        """The folder of the prompts to an AI judge, and its answers."""
        return self.root / "judge"

    @property
    def media(self) -> Path:
        """The folder of films and texts that people are shown."""
        return self.root / "media"

    @property
    def page(self) -> Path:
        """Where the labelling page is served."""
        return self.root / "page.json"

    @property
    def reward_token(self) -> Path:
        """The token that requests to ``prefrl serve-reward`` must carry."""
        return self.root / "reward_token"

    @property
    def people(self) -> Path:
        """The people who may open the labelling page."""
        return self.root / "viewer.db"

    @property
    def films(self) -> Path:
        """The folder of films and film strips."""
        return self.root / "films"

    @property
    def report(self) -> Path:
        """The folder of the report."""
        return self.root / "report"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard logs."""
        return self.root / "tensorboard"

    @staticmethod
    def write_json(path: Path, content: Mapping[str, Any]) -> None:
        """Writes a JSON file atomically."""
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())

    @staticmethod
    def read_json(path: Path) -> dict[str, Any]:
        """Reads a JSON object.

        Raises:
            RunDirectoryError: If the file is missing or damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except PermissionError as error:
            raise RunDirectoryError(in_words(error)) from error
        except (OSError, ValueError) as error:
            raise RunDirectoryError(f"expected a JSON object in {path}, but {error}.") from error
        if not isinstance(content, dict):
            raise RunDirectoryError(f"expected a JSON object in {path}, got {type(content)}.")
        return content
