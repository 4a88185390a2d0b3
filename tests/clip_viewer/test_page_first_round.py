"""The first round: gold pairs before somebody's answers count; over HTTP, and in a real browser."""

import dataclasses

import pytest
from pages import PLAIN, Visitor, needs_chromium, picture, serving, wait_for

from clip_viewer.config import ViewerConfig
from prefrl.core.comparisons import Answer
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError

ROUND = dataclasses.replace(PLAIN, qualify=4, qualify_share=0.75)
KEYS = {"left": "ArrowLeft", "right": "ArrowRight", "tie": "ArrowUp"}


def make_gold(study, n, since=0):
    """As the owner does with G: their answer, and the mark."""
    with LabelStore(study.run.labels) as store:
        for i in range(since, n):
            query, said = f"clip-more{i}", Answer.LEFT if i % 2 else Answer.RIGHT
            store.submit(query, said, submission_key=f"owner-{i}", annotator_id="owner")
            store.marks.add(query, "owner", "gold", said.value, submission_key=f"gold-{i}")


@pytest.fixture
def held(tmp_path):
    with serving(tmp_path, ROUND) as study:
        study.add_pairs(12)
        yield study


def gold(study):
    with LabelStore(study.run.labels) as store:
        return store.marks.gold()


def right_side(study, task, order):
    """The key that is right for a gold pair as it lies; of another pair any."""
    answer = gold(study).get(task, Answer.LEFT)
    return (answer.mirrored if order == "right-left" else answer).value


def ask(client, n=4, have=()):
    reply = client.post("/api/tasks", json={"n": n, "have": list(have)}).json()
    return reply["tasks"], reply["progress"]["first_round"]


def answer(client, task, said, key=None):
    event = {"kind": "answer", "submission_key": key or f"key-{task['id']}", "task": task["id"]}
    reply = client.post(
        "/api/events", json={"events": [event | {"order": task["order"], "answer": said}]}
    )
    (result,) = reply.json()["results"]
    assert result["stored"], result
    return reply.json()["progress"]["first_round"]


def told_of(study, name):
    with study.client("boss", "owner") as owner:
        people = owner.get("/api/people").json()["people"]
    return next(person["first_round"] for person in people if person["annotator"] == name)


def test_nothing_is_asked_before_there_is_enough_gold(held):
    with held.client("anna") as anna, held.client("boss", "owner") as owner:
        make_gold(held, 3)
        assert ask(anna) == ([], {"state": "waits", "answered": 0, "wanted": 4})
        assert len(ask(owner)[0]) == 4  # who is to make it is not held up
        assert ask(owner)[1] is None
        make_gold(held, 4, since=3)
        tasks, first_round = ask(anna)
        assert {task["id"] for task in tasks} == set(gold(held))
        assert first_round["state"] == "asked"
        assert ask(anna, have=[task["id"] for task in tasks])[0] == []
        # Nobody waits for answers that may not count.
        assert owner.get("/api/progress").json()["people"] == 1


def test_who_passes_goes_on_and_no_retry_or_undo_is_lost_or_doubled(held):
    make_gold(held, 5)
    before = held.events()
    with held.client("anna") as anna:
        tasks, _ = ask(anna)
        assert len(tasks) == 4
        wrong, *others = tasks
        sides = {"left": "right", "right": "left"}
        answer(anna, wrong, sides[right_side(held, wrong["id"], wrong["order"])])
        # Taken back and given anew, before there is a verdict.
        undo = {"kind": "undo", "submission_key": "undo-once", "undoes": f"key-{wrong['id']}"}
        reply = anna.post("/api/events", json={"events": [undo]}).json()
        assert reply["progress"]["first_round"]["answered"] == 0
        answer(anna, wrong, "skip", key="key-anew")
        for task in others[:2]:
            state = answer(anna, task, right_side(held, task["id"], task["order"]))
        assert state == {"state": "asked", "answered": 3, "wanted": 4}
        last = others[2]
        for _ in range(2):  # the acknowledgement of the first was lost
            said = right_side(held, last["id"], last["order"])
            assert answer(anna, last, said)["state"] == "passed"
        assert held.events() == before  # not one of them is a label
        new, _ = ask(anna)
        assert not {task["id"] for task in new} & set(gold(held))
        answer(anna, new[0], "left")
        assert [e.annotator_id for e in held.events()[len(before) :]] == ["anna"]
    assert told_of(held, "anna") == {"state": "passed", "answered": 4, "right": 3, "wanted": 4}


def test_who_fails_is_asked_nothing_more_until_let_on(held):
    make_gold(held, 4)
    with held.client("bob") as bob, held.client("boss", "owner") as owner:
        for task in ask(bob)[0]:
            state = answer(bob, task, "tie")
        assert state["state"] == "failed"
        assert ask(bob)[0] == []
        # What comes all the same is kept, and does not count.
        n = len(held.events())
        with LabelStore(held.run.labels) as store:
            (open_one,) = store.open_queries(1)
        answer(bob, {"id": open_one.id, "order": "left-right"}, "left", key="key-late")
        assert len(held.events()) == n
        with LabelStore(held.run.labels) as store:
            assert store.trials.keeps("key-late")
        assert bob.post("/api/people/bob/admit").status_code == 403
        assert owner.post("/api/people/nobody/admit").status_code == 404
        assert owner.post("/api/people/bob/admit").status_code == 204
        assert ask(bob)[1]["state"] == "admitted"
        tasks, _ = ask(bob)
        answer(bob, tasks[0], "left", key="key-counts")
        assert len(held.events()) == n + 1


@pytest.mark.parametrize("wrong", [{"qualify": -1}, {"qualify_share": 0}, {"qualify_share": 1.1}])
def test_settings_that_make_no_sense(wrong, tmp_path):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ViewerConfig(store="sqlite://", media=tmp_path, people=tmp_path / "p.db", **wrong)


@needs_chromium
def test_the_round_as_people_see_it(held, browser):
    make_gold(held, 3)
    anna = Visitor(browser, held.link("anna"), begins=False)
    page = anna.page
    page.wait_for_selector("#instructions[open]")
    page.click("#instructions-close")
    wait_for(lambda: "still prepares the first pairs" in page.inner_text("#notice"))
    make_gold(held, 4, since=3)
    anna.wait("showing")
    assert page.inner_text("#said").startswith("First come 4 pairs")
    for done in range(4):
        wait_for(lambda done=done: page.inner_text("#done") == f"{done} of 4")
        if done == 1:
            picture(page, "labelling_first_round_asked")
        anna.look()
        assert anna.task in gold(held)
        anna.press(KEYS[right_side(held, anna.task, anna.order)])
    wait_for(lambda: "From now on your answers count" in page.inner_text("#said"))
    anna.next("ArrowLeft")
    anna.wait_until_saved()
    assert [e.annotator_id for e in held.answers()].count("anna") == 1
    # Somebody else looks at nothing, and is told kindly.
    bob = Visitor(browser, held.link("bob"))
    for _ in range(4):
        bob.next("ArrowDown")
    wait_for(lambda: "Thank you for your time!" in bob.page.inner_text("#notice"))
    picture(bob.page, "labelling_first_round_failed")
    owner = Visitor(browser, held.owner_link)
    owner.page.goto(f"{held.address}/dashboard")
    invited = owner.page.locator("#invited")
    wait_for(lambda: "first round not passed: 0 of 4 right" in invited.inner_text())
    assert "first round passed: 4 of 4 right" in invited.inner_text()
    picture(owner.page.locator("section", has=invited), "labelling_first_round")
    owner.page.get_by_role("button", name="Admit bob without the first round").click()
    wait_for(lambda: "admitted: 0 of 4 right" in invited.inner_text())
    bob.next("ArrowLeft")
    bob.wait_until_saved()
    assert [e.annotator_id for e in held.answers()].count("bob") == 1
    for visitor in (anna, bob, owner):
        assert visitor.faults == []
        visitor.context.close()
