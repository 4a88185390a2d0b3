"""The page in a real browser against the real server; what counts is checked in the store."""

from collections import Counter

import pytest
from pages import PLAIN, Study, Visitor, needs_chromium, wait_for

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.runtime.rundir.media import add_medium

pytestmark = needs_chromium
LEFT, RIGHT, TIE, SKIP = Answer
KEYS = {"ArrowLeft": LEFT, "ArrowRight": RIGHT, "ArrowUp": TIE, "ArrowDown": SKIP}


@pytest.fixture
def study(study):
    study.add_pairs(30)
    return study


@pytest.fixture
def visitor(study, browser):
    visitor = Visitor(browser, study.owner_link)
    yield visitor
    assert visitor.faults == []
    visitor.context.close()


def as_seen(event):
    return event.answer.mirrored if event.order_shown == "right-left" else event.answer


def test_ten_pairs_by_keyboard(study, visitor):
    keys = [*KEYS, "a", "d", "1", "2", "ArrowLeft", "ArrowRight"]
    shown = [(*visitor.next(key), key) for key in keys]
    visitor.wait_until_saved()
    meant = KEYS | {"a": LEFT, "1": LEFT, "d": RIGHT, "2": RIGHT}
    answers = study.answers()
    assert [(e.query_id, e.order_shown, as_seen(e)) for e in answers] == [
        (task, order, meant[key]) for task, order, key in shown
    ]
    assert {e.annotator_id for e in answers} == {"owner"}
    assert all(0 < e.client_ms < 60_000 and e.shown_at < e.answered_at for e in answers)
    assert {e.order_shown for e in answers} == {"left-right", "right-left"}
    assert len({e.rubric_ver for e in answers}) == 1


def test_a_key_that_is_held_down_is_one_answer(study, visitor):
    visitor.look()
    for _ in range(40):  # as a keyboard does: down again and again, up once
        visitor.page.keyboard.down("ArrowRight")
        visitor.page.wait_for_timeout(50)
    visitor.page.keyboard.up("ArrowRight")
    visitor.wait_until_saved()
    assert len(study.events()) == 1


@pytest.mark.parametrize("place", [".showing.shown .side.right", "#answers [data-action=right]"])
def test_a_double_click_is_one_answer(study, visitor, place):
    page, first = visitor.page, visitor.task
    visitor.look()
    page.dblclick(place, delay=200)  # slow enough that the next pair is there in between
    wait_for(lambda: visitor.task not in (first, None))
    second = visitor.task
    page.focus(place)
    visitor.press("Enter")  # a click by a key, which has no count
    visitor.wait_until_saved()
    assert [(e.query_id, as_seen(e)) for e in study.events()] == [(first, RIGHT), (second, RIGHT)]


def test_undo_goes_back_as_far_as_one_likes(study, visitor):
    shown = [visitor.next("ArrowLeft") for _ in range(3)]
    back = []
    for _ in range(3):
        visitor.press("Backspace")
        back.append((visitor.task, visitor.order))
    assert back == shown[::-1]
    assert visitor.press("ArrowRight") == shown[0]
    visitor.wait_until_saved()
    with LabelStore(study.run.labels) as store:
        ((_, comparison),) = store.comparisons()
        assert store.counts().answered == 1
    assert comparison.query.id == shown[0][0]
    assert comparison.answer == (RIGHT.mirrored if shown[0][1] == "right-left" else RIGHT)
    assert [e.answer is None for e in study.events()] == [False] * 3 + [True] * 3 + [False]


def test_a_reload_in_the_middle_of_an_answer(study, visitor):
    pressed, given = set(), set()
    for _ in range(5):
        task = visitor.task
        pressed.add(task)
        visitor.look()
        visitor.page.keyboard.press("ArrowLeft")
        if visitor.task != task:  # the next pair is shown: the answer is the browser's to keep
            given.add(task)
        visitor.page.reload()
        visitor.wait("showing")
    visitor.wait_until_saved()
    answered = [e.query_id for e in study.events()]
    assert given <= set(answered) <= pressed
    assert len(set(answered)) == len(answered)


def test_the_server_is_killed_and_comes_back(study, visitor):
    shown = [visitor.press("ArrowLeft")]
    visitor.wait_until_saved()
    study.kill()
    shown += [visitor.next("ArrowRight") for _ in range(3)]  # what was fetched before
    visitor.page.wait_for_selector("#saved[data-how=offline]")
    assert "3 answers kept here" in visitor.page.inner_text("#saved")
    assert visitor.page.evaluate("document.body.dataset.outbox") == "3"
    assert len(study.events()) == 1
    study.serve()
    visitor.wait_until_saved()
    shown.append(visitor.next("ArrowLeft"))
    visitor.wait_until_saved()
    assert [(e.query_id, e.order_shown) for e in study.events()] == shown


def test_the_server_is_killed_again_and_again(study, visitor):
    """The answers are on their way while it dies: some are stored without being acknowledged."""
    shown = []
    for _ in range(4):
        for _ in range(2):
            shown.append(visitor.next("ArrowLeft"))
        study.kill()
        study.serve()
        wait_for(lambda: visitor.page.evaluate("document.body.dataset.outbox") == "0")
    assert [(e.query_id, e.order_shown) for e in study.events()] == shown


def test_offline_for_a_while_and_a_new_page(study, visitor):
    visitor.context.set_offline(True)
    shown = [visitor.next("ArrowLeft") for _ in range(3)]
    visitor.press("Backspace")
    visitor.page.wait_for_selector("#saved[data-how=offline]")
    assert study.events() == []
    visitor.page.close()  # what is kept outlives the page
    visitor.context.set_offline(False)
    visitor.page = visitor.tab()
    visitor.page.goto(study.address)
    visitor.wait("showing")
    visitor.wait_until_saved()
    wait_for(lambda: len(study.events()) == 4)
    answered = [(e.query_id, e.answer) for e in study.events()]
    meant = [RIGHT if order == "right-left" else LEFT for _, order in shown]
    tasks = [task for task, _ in shown]
    assert answered == [*zip(tasks, meant, strict=True), (tasks[-1], None)]


def add_texts(study, content, n=4):
    """Pairs before all others, each text with a file of its own; their ids, and those files."""
    with LabelStore(study.run.labels) as store:
        queries = [Query(f"first{i}", f"first{i}a", f"first{i}b") for i in range(n)]
        files = []
        for item in (item for query in queries for item in (query.left, query.right)):
            text = content % item.encode()
            media_id = add_medium(study.run.media, text, "application/json")
            store.media.add(item, media_id, "application/json")
            files.append((item, study.run.media / f"{media_id}.json", text))
        store.add_queries(queries, priorities=[99.0] * n)
    return {query.id for query in queries}, files


def test_what_cannot_be_shown_is_in_nobodys_way(study, browser):
    broken, _ = add_texts(study, b"this is no JSON: %s")
    visitor = Visitor(browser, study.owner_link)
    shown = [visitor.next("ArrowLeft")[0] for _ in range(6)]
    visitor.wait_until_saved()
    assert [e.query_id for e in study.events()] == shown
    assert not broken & set(shown)
    visitor.context.close()


def test_what_was_lost_from_the_disk_is_made_again_and_shown(study, browser):
    lost, files = add_texts(study, b'{"response": "%s"}', n=2)
    for _, path, _ in files:
        path.unlink()
    visitor = Visitor(browser, study.owner_link)
    with LabelStore(study.run.labels) as store:
        # Whoever makes films looks for these.
        wait_for(lambda: {query.id for query in store.media.missing(99)} == lost)
        for item, _, text in files:
            media_id = add_medium(study.run.media, text, "application/json")
            store.media.add(item, media_id, "application/json")
    assert visitor.task not in lost
    while visitor.next("ArrowLeft")[0] not in lost:
        visitor.page.wait_for_timeout(500)
    visitor.context.close()


@pytest.mark.parametrize("has_locks", [True, False], ids=["locks", "plain HTTP has none"])
def test_two_tabs_neither_send_nor_show_twice(study, visitor, has_locks):
    if not has_locks:
        visitor.context.add_init_script("delete Navigator.prototype.locks")
        visitor.page.reload()
        visitor.wait("showing")
    other = visitor.tab()
    other.goto(study.address)
    other.wait_for_selector("body[data-state=showing]")
    assert other.evaluate("Boolean(navigator.locks)") == has_locks
    tasks = []
    for _ in range(4):
        for page in (visitor.page, other):
            page.wait_for_selector("body[data-state=showing]")
            tasks.append(page.locator("#stage").get_attribute("data-task"))
            page.wait_for_selector("body[data-takes=yes]")
            page.keyboard.press("ArrowLeft")
            page.wait_for_timeout(150)
    for page in (visitor.page, other):
        page.wait_for_selector("body[data-outbox='0']")
    wait_for(lambda: len(study.events()) == 8)
    assert [e.query_id for e in study.events()] == tasks
    assert len(set(tasks)) == 8


def test_a_tab_that_is_gone_keeps_nothing_for_long_without_locks(study, visitor):
    visitor.context.add_init_script("delete Navigator.prototype.locks")
    visitor.page.reload()
    visitor.wait("showing")
    entries = "Object.keys(localStorage).filter(key => key.startsWith('prefrl-tab/'))"
    (own,) = visitor.page.evaluate(entries)
    for name, ago, task in [("crashed", 200, "clip-more5"), ("open", 0, "clip-more6")]:
        visitor.page.evaluate(
            "([key, ago, task]) => localStorage.setItem("
            "key, JSON.stringify({at: Date.now() - 1000 * ago, tasks: [task]}))",
            [own.rpartition("/")[0] + "/" + name, ago, task],
        )
    urgent = {f"clip-more{i}" for i in (0, 1, 2, 3, 4, 5, 7, 8)}
    shown = []
    while not urgent <= set(shown):  # a film that loads slowly comes later
        shown.append(visitor.next("ArrowLeft")[0])
    assert "clip-more6" not in shown
    other = visitor.tab()
    other.goto(study.address)
    other.wait_for_selector("body[data-state=showing]")
    assert len(other.evaluate(entries)) == 3
    other.goto("about:blank")
    wait_for(lambda: len(visitor.page.evaluate(entries)) == 2)


def test_two_people_get_different_pairs(study, visitor, browser):
    anna = Visitor(browser, study.link("anna"))
    for _ in range(5):
        visitor.next("ArrowLeft")
        anna.next("ArrowLeft")
    for one in (visitor, anna):
        one.wait_until_saved()
    assert Counter(e.annotator_id for e in study.answers()) == {"owner": 5, "anna": 5}
    assert len({e.query_id for e in study.answers()}) == 10
    anna.context.close()


def test_who_is_shut_out_keeps_the_answers_until_let_in_again(study, browser):
    anna = Visitor(browser, study.link("anna"))
    study.people.revoke("anna")
    anna.look()
    anna.page.keyboard.press("ArrowLeft")
    anna.wait("signin")
    assert "1 answer is kept here" in anna.page.inner_text("#notice-text")
    anna.page.goto("about:blank")
    anna.page.goto(study.link("anna"))
    anna.wait("showing")
    anna.wait_until_saved()
    assert len(study.answers()) == 1
    anna.context.close()


@pytest.mark.parametrize("status", [400, 404, 405, 502])
def test_what_another_server_says_drops_no_answer(study, visitor, status):
    """A proxy whose server is away, or another program on the same port."""
    visitor.page.route("**/api/events", lambda route: route.fulfill(status=status, body="not ours"))
    shown = [visitor.next("ArrowLeft") for _ in range(2)]
    visitor.page.wait_for_selector("#saved[data-how=offline]")
    assert visitor.page.evaluate("document.body.dataset.outbox") == "2"
    visitor.page.unroute("**/api/events")
    visitor.wait_until_saved()
    assert [(e.query_id, e.order_shown) for e in study.answers()] == shown


def test_answers_for_another_run_at_the_same_address_wait(tmp_path, study, visitor):
    study.kill()
    visitor.look()
    visitor.page.keyboard.press("ArrowLeft")
    visitor.page.wait_for_selector("body[data-outbox='1']")
    other = Study(tmp_path / "other", PLAIN, port=study.port)
    other.add_pairs(5)
    other.serve()
    visitor.page.goto("about:blank")
    visitor.page.goto(other.owner_link)
    visitor.wait("showing")
    visitor.wait_until_saved()
    visitor.press("ArrowRight")
    visitor.wait_until_saved()
    assert [len(other.events()), len(study.events())] == [1, 0]
    other.kill()
    study.serve()
    visitor.page.goto("about:blank")
    visitor.page.goto(study.link("owner"))
    visitor.wait("showing")
    visitor.wait_until_saved()
    assert [len(other.events()), len(study.events())] == [1, 1]
