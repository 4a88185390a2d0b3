"""What else the page does in a real browser: texts, rankings, fingers, keys of one's own, films."""

import itertools
import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from pages import Visitor, needs_chromium, picture, wait_for

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.runtime.rundir.media import add_medium

pytestmark = needs_chromium
LEFT, RIGHT, TIE, SKIP = Answer
PAYLOADS = [
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<svg onload=window.pwned=1>",
    "</script><script>window.pwned=1</script>",
    "javascript:window.pwned=1",
    '"><iframe srcdoc="<script>parent.pwned=1</script>">',
    "{{constructor.constructor('window.pwned=1')()}}",
]


def visit(browser, study, **options):
    return Visitor(browser, study.owner_link, **options)


def only(study, group=None):
    """Leaves nothing to compare but one group, or nothing at all."""
    with LabelStore(study.run.labels) as store:
        for i, query in enumerate(store.open_queries(99)):
            if group is None or query.group != group:
                key = f"before-{i}"
                store.submit(query.id, SKIP, submission_key=key, annotator_id="before")


def told(study):
    return [event for event in study.events() if event.annotator_id == "owner"]


def test_texts_with_their_prompt_lengths_and_differences(study, browser):
    study.add_pairs(2, kind="text")
    visitor = visit(browser, study)
    page = visitor.page
    while page.get_attribute("body", "data-media") != "texts":
        visitor.press("ArrowLeft")
    shown = page.locator(".showing.shown")
    assert shown.locator("h2").all_inner_texts() == ["Left", "Right"]
    assert shown.locator(".text").count() == 2
    assert shown.locator("mark, .length").count() == 0
    page.keyboard.press("l")
    assert shown.locator(".length").count() == 2
    assert "words" in shown.locator(".length").first.inner_text()
    page.keyboard.press("t")
    assert shown.locator("mark").count() > 3
    visitor.look()
    picture(page, "labelling_text")
    task, order = visitor.press("ArrowRight")
    visitor.wait_until_saved()
    event = told(study)[-1]
    assert (event.query_id, event.order_shown) == (task, order)
    assert visitor.faults == []


def better_than(study, ranks_by_text):
    """What the answers about the pairs must be if texts have these ranks."""
    with LabelStore(study.run.labels) as store:
        said = {}
        for event in told(study):
            (query,) = store.find([event.query_id])
            ranks = ranks_by_text[query.left], ranks_by_text[query.right]
            wanted = TIE if ranks[0] == ranks[1] else LEFT if ranks[0] < ranks[1] else RIGHT
            said[event.query_id] = (event.answer, wanted)
    return said


def items_as_shown(study, visitor):
    """Item ids in the order in which the page showed them first."""
    order = [int(position) for position in visitor.order.split("-")]
    return [f"recipe{position}" for position in order]


def test_a_ranking_by_keys_with_a_tie_and_undone(study, browser):
    only(study, "recipe")
    visitor = visit(browser, study)
    page, items = visitor.page, items_as_shown(study, visitor)
    assert page.locator("[data-action=save]").is_disabled()
    for key in ["2", "1", "=", "4"]:
        page.keyboard.press(key)
    assert page.locator(".rank").all_inner_texts() == ["1", "1", "2", "3"]
    visitor.press("Enter")
    visitor.wait_until_saved()
    ranks = dict(zip(items, [1, 1, 3, 2], strict=True))
    said = better_than(study, ranks)
    assert len(said) == 6
    assert all(answer == wanted for answer, wanted in said.values())
    assert {event.order_shown for event in told(study)} == {"-".join(i[-1] for i in items)}
    visitor.press("Backspace")
    visitor.wait_until_saved()
    assert [event.answer for event in told(study)[6:]] == [None] * 6
    assert visitor.faults == []


def test_a_ranking_by_dragging(study, browser):
    only(study, "recipe")
    visitor = visit(browser, study)
    page, items = visitor.page, items_as_shown(study, visitor)
    handles = page.locator(".ranking li .handle")
    start, end = handles.nth(3).bounding_box(), handles.nth(0).bounding_box()
    page.mouse.move(start["x"] + 10, start["y"] + 10)
    page.mouse.down()
    page.mouse.move(end["x"] + 10, end["y"] - 5, steps=12)
    page.mouse.up()
    visitor.press("Enter")
    visitor.wait_until_saved()
    ranks = dict(zip([items[3], *items[:3]], range(1, 5), strict=True))
    said = better_than(study, ranks)
    assert len(said) == 6
    assert all(answer == wanted for answer, wanted in said.values())


def test_cannot_tell_about_a_ranking(study, browser):
    only(study, "recipe")
    visitor = visit(browser, study)
    visitor.press("ArrowDown")
    visitor.wait_until_saved()
    assert [event.answer for event in told(study)] == [SKIP] * 6


def test_keys_of_ones_own(study, browser):
    visitor = visit(browser, study)
    page = visitor.page
    page.click("#show-keys")
    page.get_by_role("button", name="Tie:").click()
    page.keyboard.press("x")
    page.click("#keys-close")
    page.reload()
    visitor.wait("showing")
    visitor.press("x")
    visitor.wait_until_saved()
    assert [event.answer for event in told(study)] == [TIE]
    page.evaluate(
        "localStorage.setItem('prefrl-keys', JSON.stringify({tie: ['<b>', {}], left: 3}))"
    )
    page.reload()
    visitor.wait("showing")
    visitor.press("ArrowUp")  # what is no key is as if it were not there
    assert visitor.faults == []


def test_both_films_run_on_one_clock(study, browser):
    study.add_pairs(2)
    visitor = visit(browser, study)
    page = visitor.page
    gaps = page.evaluate(
        """async () => {
          const films = [...document.querySelectorAll('.showing.shown video')];
          const gaps = [];
          for (const until = performance.now() + 3000; performance.now() < until;) {
            await new Promise(requestAnimationFrame);
            const [left, right] = films;
            const gap = Math.abs(left.currentTime - right.currentTime);
            if (!left.ended && !right.ended) gaps.push(gap);
          }
          return gaps.sort((a, b) => a - b);
        }"""
    )
    assert gaps[len(gaps) // 2] < 1 / 15
    page.keyboard.press(" ")
    assert page.evaluate("[...document.querySelectorAll('video')].every(film => film.paused)")
    page.keyboard.press("]")
    assert page.inner_text("#speed").startswith("1.5")
    page.keyboard.press(" ")
    playing = "document.querySelector('.showing.shown video').playbackRate > 1.2"
    wait_for(lambda: page.evaluate(playing))


def test_nothing_to_compare_and_then_something(study, browser):
    only(study)
    visitor = Visitor.__new__(Visitor)
    visitor.context, visitor.faults = browser.new_context(), []
    visitor.page = visitor.tab()
    visitor.page.goto(study.owner_link)
    visitor.page.wait_for_selector("#instructions[open]")
    visitor.page.click("#instructions-close")
    visitor.wait("empty")
    wait_for(lambda: "nothing more to compare" in visitor.page.inner_text("#notice-text"))
    study.add_pairs(3)
    visitor.wait("showing")


def test_strings_from_elsewhere_do_nothing(study, browser):
    with LabelStore(study.run.labels) as store:
        for i, payload in enumerate(PAYLOADS):
            item = {"prompt": payload, "response": payload}
            content = json.dumps(item).encode()
            media_id = add_medium(study.run.media, content, "application/json")
            store.media.add(f"bad{i}", media_id, "application/json")
        pairs = itertools.pairwise(range(len(PAYLOADS)))
        queries = [Query(f"bad<{i}>", f"bad{i}", f"bad{j}") for i, j in pairs]
        store.add_queries(queries, priorities=[99.0] * len(queries))
    for payload in PAYLOADS[:3]:
        study.link(payload)
    visitor = visit(browser, study)
    for _ in queries:
        assert visitor.page.locator(".showing script, .showing img, .showing iframe").count() == 0
        visitor.page.keyboard.press("t")
        visitor.press("ArrowLeft")
    visitor.wait_until_saved()
    assert visitor.page.evaluate("window.pwned") is None
    visitor.page.goto(f"{study.address}/dashboard")
    visitor.wait("showing")
    assert PAYLOADS[0] in visitor.page.inner_text("#invited")
    assert visitor.page.evaluate("window.pwned") is None
    assert visitor.faults == []


def test_the_dashboard(study, browser):
    study.add_pairs(6)
    visitor = visit(browser, study)
    for _ in range(3):
        visitor.press("ArrowLeft")
    visitor.press("ArrowUp")
    visitor.wait_until_saved()
    page = visitor.page
    page.goto(f"{study.address}/dashboard")
    visitor.wait("showing")
    row = page.locator("#people tbody tr").first
    assert row.locator("th").inner_text() == "owner"
    assert row.locator("td").first.inner_text() == "4"
    assert row.locator("td").nth(3).inner_text().startswith("100 %")  # unseen
    assert row.locator("td").nth(5).inner_text().startswith("25 %")  # ties
    page.fill("#name", "anna")
    page.click("#invite button")
    wait_for(lambda: "#enter=" in page.inner_text("#link"))
    anna = Visitor(browser, page.inner_text("#link code"))
    anna.page.goto(f"{study.address}/dashboard")
    anna.wait("signin")
    with page.expect_download() as download:
        page.click("#download")
    lines = download.value.path().read_text().splitlines()
    assert sum('"kind": "event"' in line for line in lines) == 4
    page.get_by_role("button", name="Shut anna out").click()
    anna.page.goto(study.address)
    anna.wait("signin")
    assert visitor.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out_by_how_it_is_drawn(study, browser, scheme):
    """What axe calls serious or critical (WCAG 2 A and AA) is not there."""
    options = {"bypass_csp": True, "color_scheme": scheme}  # axe is put into the page as a script
    visitor = visit(browser, study, **options)
    page = visitor.page

    def faults():
        found = Axe().run(page).response["violations"]
        bad = [one for one in found if one["impact"] in ("serious", "critical")]
        return [(one["id"], [node["html"] for node in one["nodes"]]) for one in bad]

    assert faults() == []
    page.click("[data-action=help]")
    assert faults() == []
    page.click("#instructions-close")
    while page.get_attribute("body", "data-kind") != "ranking":
        visitor.press("ArrowLeft")
        if page.get_attribute("body", "data-media") == "texts":
            assert faults() == []
    assert faults() == []
    page.goto(f"{study.address}/dashboard")
    visitor.wait("showing")
    assert faults() == []
