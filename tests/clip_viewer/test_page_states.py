"""What the page says while nothing is on it, and that nothing is answered or lost unseen."""

import contextlib
import json
import re

import pytest
from pages import PLAIN, Study, Visitor, needs_chromium, picture, wait_for
from playwright.sync_api import Error

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.runtime.roles.role import Heartbeat
from prefrl.runtime.rundir.media import add_medium

pytestmark = needs_chromium
LEFT, RIGHT, TIE, SKIP = Answer
TRAINING = {"title": "A training", "algo": "ppo", "goal": "Fly <b>up</b>.", "labels": 60}


@pytest.fixture
def visit(browser):
    """Opens the page in browsers of their own."""
    visitors = []

    def open_page(link, *, answers=False):
        visitor = Visitor.__new__(Visitor)
        visitor.context, visitor.faults = browser.new_context(), []
        visitor.page = visitor.tab()
        visitors.append(visitor)
        visitor.page.goto(link)
        if answers:
            visitor.begin()
        return visitor

    yield open_page
    for visitor in visitors:
        assert visitor.faults == []
        visitor.context.close()


def started(visitor):
    """The instructions are read."""
    visitor.page.wait_for_selector("#instructions[open]")
    visitor.page.click("#instructions-close")
    return visitor


def all_answered(study):
    with LabelStore(study.run.labels) as store:
        for query in store.open_queries(99):
            key = f"before-{query.id}"
            store.submit(query.id, SKIP, submission_key=key, annotator_id="before")


def says(visitor, title, text=""):
    notice = visitor.page.locator("#notice")
    wait_for(lambda: title in notice.inner_text() and text in notice.inner_text())


def trains(study):
    """Makes it the page of a training; gives what the agent says of itself by."""
    study.kill()
    study.run.write_json(study.run.config, TRAINING)
    study.serve()
    return Heartbeat(study.run, "agent")


def test_from_the_start_of_a_training_to_its_end(study, visit):
    all_answered(study)
    agent = trains(study)
    visitor = started(visit(study.owner_link))
    says(visitor, "Starting", "New pairs appear here by themselves")
    agent.beat("acting")
    says(visitor, "All answered, for now", "agent: acting")
    study.kill()
    says(visitor, "The server is away", "tries again by itself")
    assert visitor.page.inner_text("#saved") == "Server away"
    picture(visitor.page, "labelling_away")
    study.serve()
    says(visitor, "All answered, for now")
    agent.beat("stopped")
    says(visitor, "All answered, thank you!", "The training has stopped")
    study.run.policy.touch()
    says(visitor, "Finished, thank you!", "asks for nothing more")
    picture(visitor.page, "labelling_finished")
    study.kill()
    says(visitor, "Finished, thank you!", "no longer served")


def test_until_the_first_pair_the_page_says_what_goes_on_and_when_it_comes(study, visit):
    study.kill()
    shown = LabelStore(study.run.labels)
    media = shown.media.of(["clip0a", "clip0b"])
    shown.close()
    study.run.labels.unlink()
    agent = trains(study)
    visitor = started(visit(study.owner_link))
    says(visitor, "Starting", "The run is being set up. The first pair comes in about 9 seconds.")
    agent.beat("starting")
    says(visitor, "Starting", "The agent makes its environments and its nets.")
    agent.beat("acting", env_steps=0, first_steps=4000)
    says(visitor, "Starting", "The agent tries things out")
    agent.beat("saving", env_steps=10)  # a state of its own: it is written at once
    agent.beat("acting", env_steps=20)
    notice = visitor.page.locator("#notice")
    wait_for(lambda: re.search(r"in about \d+0 seconds", notice.inner_text()))
    with LabelStore(study.run.labels) as store:
        store.add_queries([Query("first", "clip0a", "clip0b")])
        says(
            visitor, "Starting", "The first clips are being drawn. The first pair comes in about 2"
        )
        picture(visitor.page, "labelling_starting")
        for item, medium in media.items():
            store.media.add(item, medium.media_id, medium.media_type)
    visitor.wait("showing")
    assert visitor.task == "first"


def test_a_training_that_ends_while_a_pair_is_shown(study, visit):
    agent = trains(study)
    agent.beat("acting")
    visitor = visit(study.owner_link, answers=True)
    task = visitor.task
    assert visitor.page.inner_text("#goal") == "Fly <b>up</b>."
    assert visitor.page.inner_text("#done") == "0 of 60"
    agent.beat("finishing")
    study.run.policy.touch()
    visitor.page.wait_for_selector("body[data-state=over]", timeout=10_000)
    assert "Finished, thank you!" in visitor.page.inner_text("#notice")
    visitor.page.get_by_role("button", name="Answer what is left").click()
    visitor.wait("showing")
    assert visitor.task == task
    # It goes on, and ends again while an answer is looked at: that pair is not among what is left.
    visitor.press("ArrowLeft")
    visitor.wait_until_saved()
    agent.beat("acting")
    says_agent = visitor.page.locator("#agent-says")
    wait_for(lambda: "acting" in says_agent.inner_text())
    next_one = visitor.task
    visitor.page.click("[data-action=answered]")
    visitor.page.locator("#answered-list li button").click()
    wait_for(lambda: visitor.task == task)
    agent.beat("finishing")
    visitor.page.wait_for_selector("body[data-state=over]:not([data-replaces])", timeout=10_000)
    visitor.page.get_by_role("button", name="Answer what is left").click()
    visitor.wait("showing")
    assert visitor.task == next_one


def answer_all_but_those_of(visitor, study):
    """Leaves open what a tab has; returns that."""
    wait_for(lambda: len(visitor.page.query_selector_all(".showing")) >= 4)
    here = visitor.page.evaluate(
        "Object.entries(localStorage).filter(([key]) => key.startsWith('prefrl-tab'))"
    )
    (held,) = [json.loads(value)["tasks"] for _, value in here]
    with LabelStore(study.run.labels) as store:
        for query in store.open_queries(99):
            if query.id not in held and query.group not in held:
                key = f"before-{query.id}"
                store.submit(query.id, SKIP, submission_key=key, annotator_id="before")
    return held


def test_the_last_pairs_are_with_another_tab_or_somebody_else(study, visit):
    visitor = visit(study.owner_link, answers=True)
    answer_all_but_those_of(visitor, study)
    tab = visitor.tab()
    tab.goto(study.address)
    tab.get_by_text("In another tab").wait_for()
    picture(tab, "labelling_another_tab")
    anna = started(visit(study.link("anna")))
    says(anna, "Somebody else has the remaining pairs")
    anna.page.goto("about:blank")  # she might be the first to ask for what comes free
    visitor.page.close(run_before_unload=True)
    tab.wait_for_selector("body[data-state=showing]")


def test_a_sign_in_link_in_the_tab_that_asks_for_one(study, visit):
    visitor = visit(study.address)
    visitor.wait("signin")
    picture(visitor.page, "labelling_sign_in")
    visitor.page.goto(study.owner_link)  # the same address up to the #
    visitor.begin()


def test_a_tab_of_another_run(tmp_path, study, visit):
    visitor = visit(study.owner_link, answers=True)
    study.kill()
    other = Study(tmp_path / "other", PLAIN, port=study.port)
    other.serve()
    with contextlib.ExitStack() as stack:
        stack.callback(other.kill)
        visitor.page.keyboard.press("ArrowLeft")
        says(visitor, "This is another study", "1 answer is kept here")
        picture(visitor.page, "labelling_another_study")
        visitor.page.reload()
        says(visitor, "This is another study")
        visitor.page.goto(other.owner_link)
        visitor.wait("showing")
    study.serve()  # for the end of the test


def test_undo_after_a_reload(study, visit):
    study.add_pairs(9)
    visitor = visit(study.owner_link, answers=True)
    shown = [visitor.press("ArrowLeft") for _ in range(2)]
    visitor.look()
    visitor.page.keyboard.press("g")
    shown.append(visitor.press("ArrowLeft"))
    visitor.wait_until_saved()
    with LabelStore(study.run.labels) as store:
        assert store.marks.gold().keys() == {shown[-1][0]}
    visitor.page.reload()
    visitor.wait("showing")
    for before in reversed(shown):
        visitor.look()
        visitor.page.click("[data-action=undo]")
        wait_for(lambda before=before: (visitor.task, visitor.order) == before)
    visitor.wait_until_saved()
    visitor.look()
    visitor.page.click("[data-action=undo]")
    wait_for(lambda: visitor.page.inner_text("#said") == "There is nothing to undo.")
    assert [e.answer is None for e in study.events()] == [False] * 3 + [True] * 3
    with LabelStore(study.run.labels) as store:
        assert store.marks.gold() == {}
    visitor.press("ArrowRight")
    visitor.wait_until_saved()
    assert study.answers()[-1].query_id == shown[0][0]


def test_nothing_is_answered_before_it_was_seen(study, visit):
    study.add_pairs(9)
    visitor = visit(study.owner_link, answers=True)
    visitor.look()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft"):
        visitor.page.keyboard.press(key)
    visitor.look()
    visitor.page.wait_for_timeout(4000)  # the film of two seconds has run
    visitor.press("ArrowRight")
    visitor.wait_until_saved()
    first, second = study.answers()
    assert first.query_id != second.query_id
    with LabelStore(study.run.labels) as store:
        wait_for(lambda: store.marks.fast() == {first.submission_key})


def test_arrows_scroll_in_a_long_text_that_has_the_focus(study, visit):
    with LabelStore(study.run.labels) as store:
        for item in "ab":
            text = {"prompt": "", "response": f"{item} and so on\n" * 200}
            media_id = add_medium(study.run.media, json.dumps(text).encode(), "application/json")
            store.media.add(item, media_id, "application/json")
        store.add_queries([Query("long", "a", "b")], priorities=[99.0])
    visitor = visit(study.owner_link, answers=True)
    while visitor.task != "long":  # what is loaded first comes first
        visitor.press("ArrowUp")
    visitor.look()
    text = visitor.page.locator(".showing.shown .text").first
    text.click()
    for _ in range(3):
        visitor.page.keyboard.press("ArrowDown")
    wait_for(lambda: text.evaluate("text => text.scrollTop") > 20)
    assert visitor.task == "long"
    visitor.press("ArrowLeft")
    visitor.wait_until_saved()
    assert study.answers()[-1].query_id == "long"


def test_a_flag_says_why_and_opens_its_pair(study, visit):
    study.add_pairs(9)
    anna = visit(study.link("anna"), answers=True)
    flagged = anna.task
    anna.page.keyboard.press("f")
    anna.page.keyboard.type("<b>stands</b> still")
    anna.page.keyboard.press("Enter")
    anna.page.locator("#said", has_text="Flagged").wait_for(state="attached")
    anna.press("ArrowDown")
    anna.wait_until_saved()
    owner = visit(study.owner_link, answers=True)
    owner.page.goto(f"{study.address}/dashboard")
    link = owner.page.locator("#flags a")
    assert link.inner_text() == flagged
    assert owner.page.inner_text("#flags li").endswith("by anna: <b>stands</b> still")
    link.click()
    owner.wait("showing")
    wait_for(lambda: "by anna: <b>stands</b> still" in owner.page.inner_text("#said"))
    assert owner.task == flagged
    picture(owner.page, "labelling_flag")


def test_what_a_tab_had_that_crashed_is_shown_in_the_next(study, browser):
    visitor = Visitor(browser, study.owner_link)
    held = answer_all_but_those_of(visitor, study)
    # Until the browser has noticed it, a new tab waits for the process that has ended.
    with visitor.page.expect_event("crash"), contextlib.suppress(Error):
        visitor.page.goto("chrome://crash")
    visitor.page = visitor.tab()
    visitor.page.goto(study.address)
    visitor.wait("showing")
    assert visitor.task in held
    visitor.context.close()
