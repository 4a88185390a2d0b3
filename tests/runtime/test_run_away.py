"""What the guard sees of a reward that is run away from, and of one that answers keep up with."""

import csv
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from prefrl.runtime.guard import GUARDED, Guard, sighting, watching_on
from prefrl.runtime.partners import UsedReward
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.troubles import troubles_of

N_FEATURES = 10


@dataclass(frozen=True)
class Point:
    id: str
    x: torch.Tensor


class Ensemble(nn.Module):
    """Five nets that score points; fitted to comparisons as Bradley and Terry have it."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.nets = nn.ModuleList(
            nn.Sequential(
                nn.Linear(N_FEATURES, 64), nn.LeakyReLU(), nn.Linear(64, 64), nn.LeakyReLU(),
                nn.Linear(64, 1),
            )
            for _ in range(5)
        )  # fmt: skip

    def module(self):
        return self

    def collate(self, items):
        return torch.stack([item.x for item in items])

    def score(self, batch):
        return torch.cat([net(batch).T for net in self.nets])

    def fit(self, left, right, won, seed):
        optimizer = torch.optim.Adam(self.parameters(), 3e-3)
        rng = torch.Generator().manual_seed(seed)
        bags = [torch.randint(len(left), (len(left),), generator=rng) for _ in self.nets]
        for _ in range(150):
            loss = torch.zeros(())
            for net, bag in zip(self.nets, bags, strict=True):
                margin = (net(left[bag]) - net(right[bag])).squeeze(-1)
                loss = loss + nn.functional.binary_cross_entropy_with_logits(margin, won[bag])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


class Kept(dict):
    def keep(self, items):
        self.update({item.id: item for item in items})

    def kept(self, item_id):
        return self[item_id]


def true(x):
    """Best at 1.5 of the first feature: the answers at the start only tell which way to go."""
    return -((x[:, 0] - 1.5) ** 2)


class Training:
    """An agent that climbs the learned reward; answers come at the start alone, or go on."""

    def __init__(self, seed, *, keeps_asking, mode="warn", run=None, ask=lambda pairs, steps: 0):
        self.rng = torch.Generator().manual_seed(seed)
        self.place, self.seed, self.keeps_asking = torch.zeros(N_FEATURES), seed, keeps_asking
        self.model, self.n = Ensemble(seed), 0
        self.compared = (self.draw(60), self.draw(60))
        self.version, self.trues = 0, []
        self.fit()
        self.guard = Guard(mode, Kept(), self.model, run, ask=ask)

    def draw(self, n):
        return self.place + 0.5 * torch.randn(n, N_FEATURES, generator=self.rng)

    def fit(self):
        left, right = self.compared
        self.model.fit(left, right, (true(left) > true(right)).float(), self.seed)
        self.version += 1

    def step(self):
        x = self.draw(GUARDED)
        self.n += GUARDED
        self.trues.append(float(true(x).mean()))
        points = [Point(f"{self.n}-{i}", row) for i, row in enumerate(x)]
        used = UsedReward(version=self.version, labels=len(self.compared[0]))
        seen = self.guard.look(points, used, run_steps=self.n)
        x.requires_grad_(True)
        self.model.score(x).mean().backward()
        direction = x.grad.mean(0)
        self.place = self.place + 0.1 * direction / direction.norm()
        if self.keeps_asking and len(self.trues) % 12 == 0:
            more = (self.draw(20), self.draw(20))
            self.compared = tuple(map(torch.cat, zip(self.compared, more, strict=True)))
            self.fit()
        return seen


def rows_of(run):
    with run.guard.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("seed", range(4))
def test_a_reward_that_is_run_away_from_trips_it(tmp_path, seed):
    run = RunDirectory.create(tmp_path / "run")
    training = Training(seed, keeps_asking=False, run=run)
    for _ in range(120):
        training.step()
    # It is hacked: the true reward rose, fell, and is far below where it began.
    assert max(training.trues) > training.trues[0] + 1
    assert training.trues[-1] < training.trues[0] - 10
    rows = rows_of(run)
    assert any(int(row["tripped"]) for row in rows)
    (trouble,) = troubles_of(run, total_steps=None, finished=False)
    assert trouble.text.startswith("Does the agent do what you want, or does it exploit")
    assert not trouble.is_fatal


@pytest.mark.parametrize("seed", range(4))
def test_a_reward_that_answers_keep_up_with_does_not(tmp_path, seed):
    run = RunDirectory.create(tmp_path / "run")
    training = Training(seed, keeps_asking=True, run=run)
    for _ in range(80):
        training.step()
    assert np.mean(training.trues[-20:]) > training.trues[0] + 1
    assert len(rows_of(run)) == 20
    assert not any(int(row["tripped"]) for row in rows_of(run))
    assert troubles_of(run, total_steps=None, finished=False) == []


def test_it_ends_the_training_or_asks_about_exactly_these(tmp_path):
    training = Training(0, keeps_asking=False, mode="stop")
    while not training.guard.stops:
        training.step()
        assert len(training.trues) < 200
    state = training.guard.state_dict()
    asked = []

    def ask(pairs, steps):
        asked.append((pairs, steps))
        return len(pairs)

    training = Training(0, keeps_asking=False, mode="ask", ask=ask)
    for _ in range(120):
        training.step()
    ((pairs, steps),) = asked  # once for each reward
    assert {newest.id.partition("-")[0] for newest, _ in pairs} == {str(steps)}
    assert {old.id.partition("-")[0] for _, old in pairs} == {str(GUARDED)}
    # A checkpoint knows that its queries wait: the agent that takes it up waits as this one does.
    resumed = Training(0, keeps_asking=False, mode="ask", ask=ask)
    resumed.guard.load_state_dict(training.guard.state_dict())
    assert [training.guard.has_asked(), training.guard.has_asked()] == [True, False]
    assert [resumed.guard.has_asked(), resumed.guard.has_asked()] == [True, False]
    again = Training(0, keeps_asking=False)
    again.guard.load_state_dict(state)
    assert again.guard.stops
    assert again.guard.state_dict() == state
    # Made longer, it begins to count looks anew.
    n_calls, n_rows, n_in_a_row, version = state["counts"]
    assert n_in_a_row == 3
    on = watching_on(state)
    assert on == {**state, "stops": False, "counts": [n_calls, n_rows, 0, version]}
    assert watching_on({}) == {}
    off = Training(0, keeps_asking=False, mode="off")
    assert [off.step() for _ in range(8)] == [None] * 8


def test_the_figures_by_hand():
    yardstick = torch.tensor([[0.0, 2.0], [0.0, 4.0]])
    newest = torch.tensor([[3.0, 3.0], [10.0, 10.0]])
    # Deviations are sqrt(2) and 2 sqrt(2): z is -+0.7071 of both members, which agree.
    assert sighting(yardstick, newest) is None
    yardstick = torch.tensor([[0.0, 2.0], [4.0, 0.0]])
    seen = sighting(yardstick, newest)
    root = 2**0.5
    z = torch.tensor([[2 / root, 2 / root], [8 / (2 * root), 8 / (2 * root)]])
    usual = torch.tensor([[-1 / root, 1 / root], [1 / root, -1 / root]]).std(0).mean()
    assert seen.gain == pytest.approx(float(z.mean()))
    assert seen.disagreement == pytest.approx(float(z.std(0).mean() / usual))
    assert sighting(yardstick[:1], newest[:1]) is None  # one member differs from nobody
    assert sighting(torch.ones(2, 2), newest) is None
