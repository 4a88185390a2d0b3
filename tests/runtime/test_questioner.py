"""What is asked first, before there is an ensemble that knows anything."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from prefrl.core.comparisons import Query
from prefrl.core.store import LabelStore
from prefrl.runtime.questioner import Questioner


@dataclass(frozen=True)
class Dot:
    """Lies somewhere on a line."""

    id: str
    x: float


@dataclass(frozen=True)
class Settings:
    selection: str
    ranked: int = 2
    oversampling: int = 10
    max_open: int = 100


class Dots:
    """Nearly all of them lie at 0."""

    def __init__(self, n, n_apart):
        self.dots = [Dot(f"d{i}", float(i) if i < n_apart else 0.0) for i in range(n)]
        self.n_drawn = 0

    def random_candidates(self, n, size, asked, rng):
        self.n_drawn = n
        found = (rng.choice(len(self.dots), size=size, replace=False) for _ in range(n))
        return [tuple(self.dots[i] for i in places) for places in found]

    def keep(self, items):
        pass

    def kept(self, item_id):
        return self.dots[int(item_id[1:])]

    def features(self, candidates):
        return np.array([[dot.x for dot in one] for one in candidates])

    def strata(self, candidates):
        return np.zeros(len(candidates), int)


def first_round(selection, n=20):
    source = Dots(200, 20)
    with LabelStore("sqlite://") as store:
        questioner = Questioner(
            source, store, config=Settings(selection), rng=np.random.default_rng(0)
        )
        assert questioner.ask(n, None, run_steps=0) == n  # no model is looked at
        asked = [(source.kept(q.left).x, source.kept(q.right).x) for q in questioner.asked.values()]
    return asked, source.n_drawn


@pytest.mark.parametrize("selection", ["k_center", "k_center_disagreement", "k_center_entropy"])
def test_k_center_spreads_out_the_first_round_too(selection):
    asked, n_drawn = first_round(selection)
    assert n_drawn == 200
    # Of 20 pairs drawn at random 16 are (0, 0).
    assert Counter(asked)[0.0, 0.0] <= 1
    assert len(set(asked)) == 20


@pytest.mark.parametrize("selection", ["uniform", "disagreement", "entropy"])
def test_other_rules_take_what_is_drawn_first(selection):
    asked, n_drawn = first_round(selection)
    assert n_drawn == 20
    assert Counter(asked)[0.0, 0.0] > 10


def test_of_a_large_first_round_no_more_candidates_are_drawn_than_fit_into_memory():
    assert first_round("k_center", n=99)[1] == 990
    source = Dots(2000, 2000)
    with LabelStore("sqlite://") as store:
        settings = Settings("k_center", max_open=1000)
        questioner = Questioner(source, store, config=settings, rng=np.random.default_rng(0))
        assert questioner.ask(300, None, run_steps=0) == 300
    assert source.n_drawn == 2000


class Agreed(Dots):
    """Dots of which every fifth candidate has one at 0, about which all members agree."""

    def random_candidates(self, n, size, asked, rng):
        return [(Dot(f"l{i}", float(i % 5)), Dot(f"r{i}", 0.0)) for i in range(n)]

    def strata(self, candidates):
        return np.array([left.x == 0 for left, _ in candidates], int)


class Disagreeing:
    """Two members, which see the same in nothing but 0."""

    n_members = 2

    def collate(self, items):
        return torch.tensor([item.x for item in items])

    def score(self, batch):
        return torch.stack([batch, -batch])

    def module(self):
        return torch.nn.Identity()


@pytest.mark.parametrize("selection", ["uniform", "disagreement", "entropy", "k_center_entropy"])
def test_what_all_members_agree_about_is_asked_as_often_as_it_is_drawn(selection):
    with LabelStore("sqlite://") as store:
        settings = Settings(selection, oversampling=2, max_open=1000)
        questioner = Questioner(Agreed(2, 2), store, config=settings, rng=np.random.default_rng(0))
        questioner.recall([Query("q", "d0", "d1")])  # this is not the first round
        assert questioner.ask(500, Disagreeing(), run_steps=0) == 500
        asked = list(questioner.asked.values())[1:]
    agreed = sum(int(query.left[1:]) % 5 == 0 for query in asked)
    assert 70 <= agreed <= 130  # a fifth of 500
    assert len(asked) == len({query.left for query in asked})


def test_a_pair_that_is_told_twice_is_asked_once():
    source = Dots(4, 4)
    a, b, c, d = source.dots
    with LabelStore("sqlite://") as store:
        questioner = Questioner(
            source, store, config=Settings("uniform", max_open=2), rng=np.random.default_rng(0)
        )
        # What is left out takes no room.
        assert questioner.ask_about([(a, b), (b, a), (a, b), (c, d)], 0) == 2
        assert questioner.ask_about([(b, a), (d, c)], 0) == 0
        assert [(q.left, q.right) for q in questioner.asked.values()] == [
            (a.id, b.id),
            (c.id, d.id),
        ]
