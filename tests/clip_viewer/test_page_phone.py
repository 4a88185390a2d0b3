"""The page on a phone: real touches, as the screen tells the browser of them."""

import itertools

import pytest
from pages import Visitor, needs_chromium, picture, wait_for

from prefrl.core.comparisons import Answer
from prefrl.core.store import LabelStore

pytestmark = needs_chromium
LEFT, RIGHT, TIE, SKIP = Answer
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LYING = PHONE | {"viewport": {"width": 844, "height": 390}}
FAR, NEAR = 120, 10
ACROSS = {"right": (FAR, NEAR), "left": (-FAR, NEAR), "up": (5, -FAR), "down": (5, FAR)}


class Fingers(Visitor):
    """Somebody who has no keys."""

    def swipe(self, right, down):
        """A finger's way across the middle of the stage."""
        box = self.page.locator("#stage").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        screen = self.context.new_cdp_session(self.page)

        def touch(kind, *points):
            told = {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]}
            screen.send("Input.dispatchTouchEvent", told)

        touch("touchStart", (x, y))
        for part in range(1, 9):
            touch("touchMove", (x + right * part / 8, y + down * part / 8))
        touch("touchEnd")
        screen.detach()

    def tap(self, place):
        self.page.tap(f".showing.shown {place}")

    def answer(self, gesture):
        """Makes a gesture, and waits until what was shown is gone; gives what that was."""
        self.look()
        before = self.task
        gesture()
        wait_for(lambda: self.task != before)
        return before


def as_seen(study):
    return [
        (e.query_id, e.answer.mirrored if e.order_shown == "right-left" else e.answer)
        for e in study.answers()
    ]


@pytest.fixture
def fingers(browser):
    """Makes visitors with a phone."""
    made = []

    def visit(study, **options):
        made.append(Fingers(browser, study.owner_link, **(options or PHONE)))
        return made[-1]

    yield visit
    for visitor in made:
        assert visitor.faults == []
        visitor.context.close()


@pytest.mark.parametrize(
    ("how", "meant"),
    [
        (PHONE, {"up": LEFT, "down": RIGHT, "right": TIE, "left": SKIP}),
        (LYING, {"left": LEFT, "right": RIGHT, "up": TIE, "down": SKIP}),
    ],
    ids=["upright", "lying"],
)
def test_swipes_and_taps_on_clips(study, fingers, how, meant):
    study.add_pairs(10)
    visitor, given = fingers(study, **how), []
    for way, answer in meant.items():
        given.append((visitor.answer(lambda way=way: visitor.swipe(*ACROSS[way])), answer))
    for side, answer in (("left", LEFT), ("right", RIGHT)):
        given.append((visitor.answer(lambda side=side: visitor.tap(f".side.{side}")), answer))
    visitor.look()
    visitor.swipe(20, 10)  # too short to mean anything
    visitor.wait_until_saved()
    assert as_seen(study) == given


def films_first(visitor):
    while visitor.page.get_attribute("body", "data-media") != "texts":
        visitor.answer(lambda: visitor.tap(".side.left"))


def test_two_texts_have_names_and_buttons_and_are_tapped(study, fingers):
    study.add_pairs(4, kind="text")
    visitor = fingers(study)
    page = visitor.page
    films_first(visitor)
    n_before = len(as_seen(study))
    sides = page.locator(".showing.shown .side")
    assert sides.locator("h2").all_inner_texts() == ["Upper", "Lower"]
    assert sides.locator("button").all_inner_texts() == ["Upper is better", "Lower is better"]
    upper, lower = (sides.nth(i).bounding_box() for i in range(2))
    assert upper["y"] + upper["height"] <= lower["y"]
    visitor.look()
    picture(page, "labelling_phone_texts")
    given = [
        (visitor.answer(lambda: visitor.tap(".side.right button")), RIGHT),
        (visitor.answer(lambda: visitor.tap(".side.left .text")), LEFT),
    ]
    visitor.look()
    page.locator(".showing.shown .text").first.click()
    visitor.wait_until_saved()
    assert as_seen(study)[n_before:] == given
    assert page.inner_text("#said").startswith("Upper is better")


def test_films_use_the_room_and_what_is_pressed_is_large_enough(study, fingers):
    visitor = fingers(study, **PHONE, color_scheme="dark", device_scale_factor=2)
    page = visitor.page
    films = page.locator(".showing.shown .side")
    boxes = [films.nth(i).bounding_box() for i in range(2)]
    assert min(min(box["width"], box["height"]) for box in boxes) > 300
    small = page.evaluate(
        """() => [...document.querySelectorAll('button, a')]
          .filter((one) => one.checkVisibility() && !one.closest('dialog'))
          .map((one) => [one.innerText, one.getBoundingClientRect()])
          .filter(([, box]) => Math.min(box.width, box.height) < 44).map(([text]) => text)"""
    )
    assert small == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    visitor.look()
    picture(page, "labelling_phone")
    page.tap("[data-action=help]")
    page.wait_for_selector("#instructions[open]")
    told = page.inner_text("#instructions")
    assert "With your fingers" in told
    assert not any(word in told.split() for word in ("arrow", "Backspace", "⌫", "press", "key"))


def test_a_ranking_is_tapped(study, fingers):
    with LabelStore(study.run.labels) as store:
        for i, query in enumerate(store.open_queries(99)):
            if query.group is None:
                store.submit(query.id, SKIP, submission_key=f"k{i}", annotator_id="before")
    visitor = fingers(study)
    page = visitor.page
    texts = page.locator(".showing.shown .text").all_inner_texts()
    for n in (2, 0):
        page.get_by_text(texts[n]).tap()
    page.tap("[data-action=together]")
    page.get_by_text(texts[3]).tap()
    assert page.locator(".rank").all_inner_texts() == ["1", "1", "2", "3"]
    visitor.look()
    page.tap("[data-action=save]")
    visitor.wait("empty")
    visitor.wait_until_saved()
    wait_for(lambda: page.inner_text("#today") == "1")  # as it is one answer
    order = [int(position) for position in study.answers()[-1].order_shown.split("-")]
    ranks = {f"recipe{order[n]}": rank for n, rank in ((2, 1), (0, 1), (3, 2), (1, 3))}
    given = [e for e in study.answers() if e.annotator_id == "owner"]
    said = {e.query_id: e.answer for e in given}
    for better, worse in itertools.permutations(ranks, 2):
        if f"{better}-{worse}" in said:
            right = TIE if ranks[better] == ranks[worse] else None
            right = right or (LEFT if ranks[better] < ranks[worse] else RIGHT)
            assert said[f"{better}-{worse}"] == right
    page.tap("[data-action=undo]")  # with nothing to compare on the screen
    visitor.wait("showing")
    visitor.wait_until_saved()
    assert [e.answer for e in study.events() if e.annotator_id == "owner"][6:] == [None] * 6
