"""The pictures of the page that the documentation shows: each one is made by a test."""

import re
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from pages import Study, Visitor, needs_chromium, picture, wait_for

from prefrl.control.environments.states import STATE_KEY, RecordState
from prefrl.control.films.clips import choose_gl
from prefrl.control.films.drawing import Recorded, film
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import Submission
from prefrl.runtime.rundir.media import add_medium

ROOT = Path(__file__).parents[2]
OF_THE_PAGE = re.compile(r"pictures/((?:labelling_|own_|studies)\w*)\.png")
MAKES = re.compile(r'picture\(.*"(\w+)"\)')
GOAL = "Run to the right as fast as possible."


def test_every_picture_of_the_page_is_made_by_a_test():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {name for page in pages for name in OF_THE_PAGE.findall(page.read_text())}
    made = [name for test in Path(__file__).parent.glob("test_*.py") for name in names_in(test)]
    assert len(made) == len(set(made)), "two tests make a picture of the same name"
    assert len(shown) > 10
    assert shown <= set(made)
    kept = {path.stem for path in (ROOT / "docs" / "pictures").glob("*.png")}
    assert shown <= kept, "make them with scripts/docs_pictures"
    assert kept & set(made) <= shown, "nothing shows these"


def names_in(test):
    return MAKES.findall(test.read_text())


def walk(seed, strength):
    """States of HalfCheetah that is driven back and forth, and falls into no rhythm."""
    env = RecordState(gym.make("HalfCheetah-v5"))
    env.reset(seed=seed)
    at, states = np.arange(6) + seed, []
    for step in range(50):
        action = strength * np.sin(0.45 * step + at).astype(np.float32)
        states.append(env.step(action)[4][STATE_KEY])
    env.close()
    return np.stack(states)


@needs_chromium
@pytest.mark.skipif(choose_gl() is None, reason="no EGL and no OSMesa here")
def test_clips_of_halfcheetah_with_their_goal(study, browser, tmp_path):
    walks = {"fast": Recorded(walk(3, 0.9)), "slow": Recorded(walk(0, 0.4))}
    film("HalfCheetah-v5", walks, tmp_path)
    with LabelStore(study.run.labels) as store:
        for query in store.open_queries(99):  # of the samples: only the new pair is left
            key = f"before-{query.id}"
            store.submit(query.id, Answer.SKIP, submission_key=key, annotator_id="before")
        for name in walks:
            content = (tmp_path / f"{name}.webm").read_bytes()
            store.media.add(name, add_medium(study.run.media, content, "video/webm"), "video/webm")
        store.add_queries([Query("cheetahs", "fast", "slow")], priorities=[99.0])
    study.kill()
    about = {"title": "HalfCheetah-v5", "algo": "ppo", "goal": GOAL, "labels": 100}
    study.run.write_json(study.run.config, about)
    study.serve()
    visitor = Visitor(browser, study.owner_link)
    visitor.look()
    page = visitor.page
    assert visitor.task == "cheetahs"
    assert page.inner_text("#goal") == GOAL
    place = "Math.min(...[...document.querySelectorAll('.showing.shown video')].map("
    wait_for(lambda: page.evaluate(f"{place}(film) => film.currentTime)) > 0.8"))
    picture(page, "labelling_clips")
    assert visitor.faults == []
    visitor.context.close()


def answers(study, name, *, wrong, left, seconds, rng):
    """What somebody would say who is wrong, or takes the left side, with these chances."""
    now = time.time() - 3600
    with LabelStore(study.run.labels) as store:
        for query in sorted(store.open_queries(999), key=lambda query: query.id):
            turned = rng.random() < 0.5
            says_left = rng.random() < left or (rng.random() < wrong) == turned
            answer = (
                Answer.TIE if rng.random() < 0.08 else Answer.LEFT if says_left else Answer.RIGHT
            )
            took = seconds * rng.lognormal(0, 0.3)
            yield Submission(
                query.id,
                answer.mirrored if turned else answer,
                f"{name}-{query.id}",
                name,
                shown_at=now,
                client_ms=1000 * took,
                order_shown="right-left" if turned else "left-right",
            )
            now += took


@needs_chromium
def test_the_dashboard_of_several_people(study: Study, browser):
    study.add_pairs(120)
    rng = np.random.default_rng(0)
    people = {"anna": (0.05, 0.0, 2.7), "bob": (0.2, 0.4, 2.5), "Çağla": (0.1, 0.1, 3.4)}
    given = []
    for name, (wrong, left, seconds) in people.items():
        study.link(name)
        given += answers(study, name, wrong=wrong, left=left, seconds=seconds, rng=rng)
    with LabelStore(study.run.labels) as store:
        store.submit_many(given)
    visitor = Visitor(
        browser, study.owner_link, begins=False, viewport={"width": 1280, "height": 1000}
    )
    page = visitor.page
    page.wait_for_selector("#instructions[open]")
    page.goto(f"{study.address}/dashboard")
    visitor.wait("showing")
    rows = page.locator("#people tbody tr")
    wait_for(lambda: rows.count() == len(people))
    assert set(rows.locator("th").all_inner_texts()) == set(people)
    picture(page, "labelling_dashboard")
    assert visitor.faults == []
    visitor.context.close()
