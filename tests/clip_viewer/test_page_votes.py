"""Several answers to each pair, from people who each have a browser of their own."""

import dataclasses
from collections import Counter

import pytest
from pages import PLAIN, Visitor, needs_chromium, picture, serving, wait_for

from prefrl.core.store import LabelStore

pytestmark = needs_chromium
PEOPLE = {"anna": "ArrowLeft", "bob": "ArrowLeft", "Çağla": "ArrowRight"}


@pytest.fixture
def study(tmp_path):
    """Pairs that three people answer each, and rankings."""
    with serving(tmp_path, dataclasses.replace(PLAIN, answers_per_pair=3)) as study:
        yield study


def test_each_pair_is_shown_to_three_people_and_then_to_nobody(study, browser):
    for name, key in PEOPLE.items():
        visitor = Visitor(browser, study.link(name))
        while visitor.page.evaluate("document.body.dataset.state") == "showing":
            visitor.press("ArrowDown" if visitor.page.locator(".ranking").count() else key)
        visitor.wait_until_saved()
        assert visitor.faults == []
        visitor.context.close()
    counted = Counter(event.query_id for event in study.answers())
    with LabelStore(study.run.labels) as store:
        pairs = [query.id for query in store.find(counted) if query.group is None]
    assert len(pairs) >= 8
    assert {counted[pair] for pair in pairs} == {3}

    dan = Visitor(browser, study.link("dan"), begins=False)
    dan.page.click("#instructions-close")
    dan.page.get_by_text("All answered, thank you!").wait_for()
    picture(dan.page, "labelling_all_answered")
    dan.context.close()

    owner = Visitor(browser, study.owner_link, begins=False)
    owner.page.wait_for_selector("#instructions[open]")
    owner.page.goto(f"{study.address}/dashboard")
    rows = owner.page.locator("#people tbody tr")
    wait_for(lambda: rows.count() == len(PEOPLE))
    picture(owner.page, "labelling_votes")
    assert owner.faults == []
    owner.context.close()
