"""One's own answers, and what calls a person back: in a real browser, with real keys and mouse."""

import dataclasses
import json
from collections import Counter

import pytest
from pages import PLAIN, Visitor, needs_chromium, picture, serving, wait_for

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore

pytestmark = needs_chromium
LEFT, RIGHT, TIE, SKIP = Answer
SHAPES = """() => [...document.querySelectorAll('.showing.shown .side, .showing.shown .time')]
  .map((one) => one.getBoundingClientRect().toJSON())"""
PLACE = "() => document.querySelector('.showing.shown video').currentTime"
FILM = "() => document.querySelector('.showing.shown video').duration"


@pytest.fixture
def study(study):
    study.add_pairs(12)
    return study


@pytest.fixture
def visitor(study, browser):
    visitor = Visitor(browser, study.owner_link, device_scale_factor=1.5)
    yield visitor
    assert visitor.faults == []
    visitor.context.close()


def current(study):
    """What counts of each pair, as its person saw it."""
    with LabelStore(study.run.labels) as store:
        return {c.query.id: c.answer for _, c in store.comparisons()}


def seen(answer, order):
    return answer.mirrored if order == "right-left" else answer


def test_answers_are_listed_opened_changed_and_flagged(study, visitor):
    shown = [visitor.next(key) for key in ("ArrowLeft", "ArrowRight", "ArrowUp")]
    visitor.wait_until_saved()
    next_one, page = visitor.task, visitor.page
    page.click("[data-action=answered]")
    cards = page.locator("#answered-list li")
    wait_for(lambda: cards.count() == 3)
    listed = [card.get_attribute("data-task") for card in cards.all()]
    assert listed == [task for task, _ in reversed(shown)]
    says = [text.split(" · ")[0].split("\n")[-1] for text in cards.all_inner_texts()]
    assert says == ["Tie", "Right is better", "Left is better"]
    wait_for(lambda: page.evaluate("document.querySelector('#answered video').readyState") >= 2)
    picture(page, "labelling_answers")
    cards.nth(1).locator("button").click()
    wait_for(lambda: visitor.task == shown[1][0])
    assert visitor.order == shown[1][1]
    visitor.look()
    page.keyboard.press("f")
    page.keyboard.type("the floor is missing")
    page.keyboard.press("Enter")
    visitor.look()
    picture(page, "labelling_opened")
    visitor.press("ArrowLeft")
    assert visitor.task == next_one  # what was on the screen before comes again
    visitor.wait_until_saved()
    assert seen(current(study)[shown[1][0]], shown[1][1]) == LEFT
    events = study.events()
    assert [e.answer is None for e in events] == [False] * 3 + [True, False]
    assert events[3].supersedes == events[1].id  # nothing is written over
    with LabelStore(study.run.labels) as store:
        (flag,) = store.marks.flags()
    assert (flag.query_id, flag.why) == (shown[1][0], "the floor is missing")
    # Looked at and left as it was, an answer stays.
    page.keyboard.press("h")
    wait_for(lambda: cards.count() == 3)
    assert "flagged" in cards.nth(0).inner_text()
    cards.nth(2).locator("button").click()
    wait_for(lambda: visitor.task == shown[0][0])
    page.keyboard.press("Escape")
    wait_for(lambda: visitor.task == next_one)
    visitor.wait_until_saved()
    assert len(study.events()) == 5


def test_a_note_goes_with_an_answer(study, visitor):
    page = visitor.page
    first = visitor.next("ArrowUp")  # without one
    visitor.look()
    page.keyboard.press("n")
    page.keyboard.type("the left one <b>slips</b>")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-action=note][aria-pressed=true]")
    noted = visitor.press("ArrowLeft")
    visitor.look()
    assert page.get_attribute("[data-action=note]", "aria-pressed") == "false"
    # It comes back with an undo, and can be changed.
    page.keyboard.press("Backspace")
    wait_for(lambda: visitor.task == noted[0])
    visitor.look()
    page.click("[data-action=note]")
    assert page.input_value("#note-words") == "the left one <b>slips</b>"
    page.fill("#note-words", "both <b>slip</b>")
    picture(page, "labelling_note")
    page.keyboard.press("Enter")
    visitor.press("ArrowRight")
    visitor.wait_until_saved()
    with LabelStore(study.run.labels) as store:
        notes, events = store.marks.notes(), store.events()
    (newest,) = [e for e in events if e.query_id == noted[0] and e.supersedes is None][1:]
    assert notes[newest.submission_key].why == "both <b>slip</b>"
    assert len(notes) == 2  # nothing is written over
    page.keyboard.press("h")
    cards = page.locator("#answered-list li")
    wait_for(lambda: cards.count() == 2)
    assert "“both <b>slip</b>”" in cards.nth(0).inner_text()
    assert "“" not in cards.nth(1).inner_text()
    picture(page, "labelling_note_answers")
    cards.nth(0).locator("button").click()
    wait_for(lambda: visitor.task == noted[0])
    page.wait_for_selector("[data-action=note][aria-pressed=true]")
    page.keyboard.press("Escape")
    assert first[0] != noted[0]
    # Whoever runs the study sees those that count, and the pair.
    page.goto(f"{study.address}/dashboard")
    said = page.locator("#notes li")
    wait_for(lambda: said.count() == 1)
    assert said.inner_text().endswith("by owner: both <b>slip</b>")
    said.locator("a").click()
    visitor.wait("showing")
    wait_for(lambda: "owner noted: both <b>slip</b>" in page.inner_text("#said"))
    assert visitor.task == noted[0]


def test_nobody_sees_the_answers_of_others(study):
    with study.client("ann") as ann, study.client("bob") as bob:
        (task,) = ann.post("/api/tasks", json={"n": 1}).json()["tasks"][:1]
        order = task["order"]
        event = {"kind": "answer", "submission_key": "key-of-ann", "task": task["id"]}
        event |= {"order": order, "answer": "left"}
        ann.post("/api/events", json={"events": [event]})
        (one,) = ann.get("/api/answers").json()["answers"]
        assert (one["submission_key"], one["answer"]) == ("key-of-ann", "left")
        assert bob.get("/api/answers").json() == {"answers": [], "more": False}
        undo = {"kind": "undo", "submission_key": "key-of-bob", "undoes": "key-of-ann"}
        (result,) = bob.post("/api/events", json={"events": [undo]}).json()["results"]
        assert not result["stored"]
        assert ann.get("/api/answers", params={"n": 0}).status_code == 422


def test_a_bar_of_time_is_clicked_and_dragged(study, visitor):
    page = visitor.page
    visitor.look()
    left, right, *bars = page.evaluate(SHAPES)
    for side, bar in zip((left, right), bars, strict=True):
        assert bar["top"] >= side["bottom"]
        assert abs(bar["left"] - side["left"]) < 3
        assert abs(bar["width"] - side["width"]) < 6
    page.keyboard.press(" ")  # so that it stays where it is put
    length = page.evaluate(FILM)
    y = (bars[1]["top"] + bars[1]["bottom"]) / 2

    def x(share):
        return bars[1]["left"] + 8 + share * (bars[1]["width"] - 16)

    page.mouse.click(x(0.5), y)
    wait_for(lambda: abs(page.evaluate(PLACE) - length / 2) < 0.1 * length)
    page.mouse.move(x(0.5), y)
    page.mouse.down()
    page.mouse.move(x(0.8), y, steps=8)
    wait_for(lambda: abs(page.evaluate(PLACE) - 0.8 * length) < 0.1 * length)
    picture(page, "labelling_bar")
    page.mouse.up()
    assert study.events() == []  # to look is no answer
    visitor.press("ArrowRight")  # and the keys still answer
    visitor.wait_until_saved()
    assert len(study.answers()) == 1


def test_films_are_drawn_as_large_as_this_screen_shows_them(study, visitor):
    status = study.run.status / "viewer.json"
    film = visitor.page.locator(".showing.shown .left video")
    box = film.bounding_box()
    side = round(min(box["width"], box["height"]) * 1.5)
    visitor.next("ArrowLeft")  # what is asked for next is asked for at this size
    wait_for(lambda: abs(json.loads(status.read_text())["about"]["pixels"] - side) <= 3)


def test_the_title_and_a_sound_tell_that_pairs_have_come(study, visitor):
    page = visitor.page
    page.click("[data-action=sound]")
    assert page.get_attribute("[data-action=sound]", "aria-pressed") == "true"
    sounds = "performance.getEntriesByName('prefrl:sound').length"
    assert page.evaluate(sounds) == 1  # how it sounds
    picture(page, "labelling_sound")
    while visitor.page.evaluate("document.body.dataset.state") == "showing":
        visitor.press("ArrowDown" if visitor.page.locator(".ranking").count() else "ArrowLeft")
    visitor.wait("empty")
    plain = page.title()
    # Playwright tells each tab that it is in front.
    watched = visitor.context.new_cdp_session(page)
    watched.send("Emulation.setFocusEmulationEnabled", {"enabled": False})
    other = visitor.tab()
    other.goto("about:blank")
    other.bring_to_front()
    wait_for(lambda: not page.evaluate("document.hasFocus()"))
    with LabelStore(study.run.labels) as store:
        media = store.media.of(["clip0a", "clip0b"])
        store.add_queries([Query("late", "late-l", "late-r")])
        for item, medium in zip(("late-l", "late-r"), media.values(), strict=True):
            store.media.add(item, medium.media_id, medium.media_type)
    wait_for(lambda: page.title().startswith("● New pairs"))
    assert page.evaluate(sounds) == 2
    page.bring_to_front()
    wait_for(lambda: page.title() == plain)


def test_with_reduced_motion_films_run_once(study, browser):
    visitor = Visitor(browser, study.link("calm"), reduced_motion="reduce")
    page = visitor.page
    ended = "() => document.querySelector('.showing.shown video').ended"
    wait_for(lambda: page.evaluate(ended))
    page.wait_for_timeout(1500)
    assert page.evaluate(ended)
    page.keyboard.press("r")
    wait_for(lambda: not page.evaluate(ended))
    visitor.context.close()


def test_how_much_better_a_side_is(tmp_path, browser):
    page = dataclasses.replace(PLAIN, strength=True)
    with serving(tmp_path, page) as study:
        study.add_pairs(12)
        visitor = Visitor(browser, study.owner_link)
        shown = [(*visitor.next(key), key) for key in ("1", "2", "3", "4", "ArrowLeft", "ArrowUp")]
        visitor.look()
        picture(visitor.page, "labelling_strength")
        task = visitor.task
        visitor.page.click("[data-action=right-slightly]")
        visitor.wait_until_saved()
        assert "Right is slightly better" in visitor.page.inner_text("#said")
        with LabelStore(study.run.labels) as store:
            strengths, events = store.marks.strengths(), store.events()
        found = [(e.query_id, seen(e.answer, e.order_shown), strengths.get(e.id)) for e in events]
        said = [
            (LEFT, "clearly"),
            (LEFT, "slightly"),
            (RIGHT, "slightly"),
            (RIGHT, "clearly"),
            (LEFT, "clearly"),
            (TIE, None),
        ]
        expected = [(shown[i][0], *said[i]) for i in range(6)]
        assert found == [*expected, (task, RIGHT, "slightly")]
        assert visitor.faults == []
        visitor.context.close()


def test_each_pair_has_as_many_answers_as_asked_for(tmp_path):
    page = dataclasses.replace(PLAIN, answers_per_pair=3)
    with serving(tmp_path, page) as study:
        names = ("ann", "bob", "cid", "dan")
        for number in range(40):
            name = names[number % 4]
            with study.client(name) as client:
                tasks = client.post("/api/tasks", json={"n": 3}).json()["tasks"]
                events = [
                    {
                        "kind": "answer",
                        "submission_key": f"key-{number}-{i}",
                        "task": task["id"],
                        "order": task["order"],
                        "answer": "tie",
                    }
                    for i, task in enumerate(tasks)
                    if task["kind"] == "pair"
                ]
                if events:
                    client.post("/api/events", json={"events": events})
        counted = Counter(event.query_id for event in study.answers())
        assert len(counted) >= 8
        assert set(counted.values()) == {3}
