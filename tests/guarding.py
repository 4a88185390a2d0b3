"""What the guard of a run has seen and asked, for tests on both sides."""

import csv

from prefrl.runtime.questioner import Questioner


def rows_of(run):
    """What it wrote down, a row for each look."""
    with run.guard.open(newline="") as file:
        return list(csv.DictReader(file))


def spy_on_questions(monkeypatch):
    """How many queries it has asked, each time."""
    asked, ask = [], Questioner.ask_about
    monkeypatch.setattr(
        Questioner, "ask_about", lambda self, *told: asked.append(ask(self, *told)) or asked[-1]
    )
    return asked
