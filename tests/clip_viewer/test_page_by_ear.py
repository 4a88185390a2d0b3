"""Texts and rankings by keyboard alone, by what the browser tells a screen reader."""

import json

import pytest
from pages import PLAIN, Served, Visitor, needs_chromium, picture

from prefrl.core.comparisons import Answer
from prefrl.core.store import LabelStore
from prefrl.runtime.own.folder import Chosen, make_folder

pytestmark = needs_chromium


@pytest.fixture
def texts(tmp_path):
    source = tmp_path / "texts.jsonl"
    rows = [{"prompt": "Say hello.", "text": f"Hello, number {i}."} for i in range(3)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = Served(make_folder(tmp_path / "study", "texts", source, Chosen()).run, PLAIN)
    study.serve()
    yield study
    study.kill()


def heard(visitor):
    """Role, name and properties of all that is told to a screen reader, in order."""
    session = visitor.context.new_cdp_session(visitor.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    return [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored")
    ]


def focused(visitor):
    """Tag, name of a region, and text of what has the focus."""
    tag, name, text = visitor.page.evaluate("""() => {
      const here = document.activeElement;
      return [here.tagName, here.id || here.className, here.innerText];
    }""")
    return [tag, name, " ".join(text.split())]


def tab_to(visitor, text, tag="BUTTON", most=60):
    """Presses Tab until something has the focus, as somebody without a mouse does."""
    for _ in range(most):
        visitor.page.keyboard.press("Tab")
        if focused(visitor)[0] == tag and text in focused(visitor)[2]:
            return
    raise AssertionError(f"{text} is not reached by Tab")


def test_texts_are_compared_by_ear(texts, browser):
    visitor = Visitor(browser, texts.owner_link, begins=False)
    page = visitor.page
    page.wait_for_selector("#instructions[open]")
    page.keyboard.press("Enter")  # the button at the end of the instructions has the focus
    visitor.wait("showing")
    visitor.look()
    told = heard(visitor)
    for wanted in [
        ("main", "What to compare"), ("region", "Prompt"), ("region", "Left"), ("region", "Right"),
        ("article", "Left"), ("article", "Right"), ("group", "Your answer"), ("group", "Tools"),
    ]:  # fmt: skip
        assert told.count(wanted) == 1, wanted
    assert [role for role, _ in told].count("status") >= 2
    order = [told.index(("region", name)) for name in ("Prompt", "Left", "Right")]
    assert order == sorted(order)
    for role, name in told:  # nothing that can be pressed is without a name
        assert name or role not in ("button", "link", "textbox", "article", "region")
    # What waits off the screen is not told.
    assert sum("Hello, number" in name for role, name in told if role == "StaticText") == 2
    assert "Number 1: two texts to compare" in page.inner_text("#shown-says")
    left = page.locator(".showing.shown .side.left .text").inner_text()
    tab_to(visitor, "Left is better")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => document.getElementById('shown-says').textContent.startsWith('Number 2')"
    )
    assert "Left is better" in page.inner_text("#said")
    assert focused(visitor)[:2] == ["MAIN", "stage"]  # reading goes on at the top of the next one
    visitor.wait_until_saved()
    (event,) = texts.events()
    with LabelStore(texts.run.labels) as store:
        (query,) = store.find([event.query_id])
    chosen = query.left if event.answer is Answer.LEFT else query.right
    assert left == f"Hello, number {int(chosen) - 1}."
    visitor.look()
    tab_to(visitor, "t tell")
    page.keyboard.press("Enter")
    visitor.wait_until_saved()
    assert [e.answer for e in texts.events()][1] is Answer.SKIP
    assert visitor.faults == []
    visitor.context.close()


def test_texts_are_ranked_by_ear(study, browser):
    with LabelStore(study.run.labels) as store:  # the ranking first
        others = [query.id for query in store.queries() if query.group is None]
        for i, query in enumerate(others):
            store.submit(query, Answer.TIE, submission_key=f"before-{i:04}", annotator_id="eve")
    visitor = Visitor(browser, study.owner_link)
    page = visitor.page
    visitor.look()
    told = heard(visitor)
    for i in range(1, 5):
        assert ("button", f"Item {i} is the next best") in told
        assert ("article", f"Item {i}") in told
    assert "4 texts to rank" in page.inner_text("#shown-says")
    for number in ("3", "1"):
        page.keyboard.press(number)
    assert page.inner_text("#said") == "Best first: 3, 1"
    page.keyboard.press("=")
    assert page.inner_text("#said") == "Best first: 3 = 1"
    page.keyboard.press("4")
    page.wait_for_selector("body[data-takes=yes]")
    tab_to(visitor, "Save ranking")
    picture(page, "labelling_ranking")
    page.keyboard.press("Enter")
    visitor.wait_until_saved()
    said = [e for e in study.answers() if e.annotator_id == "owner"]
    assert len(said) == 6
    assert sum(e.answer is Answer.TIE for e in said) == 1
    assert visitor.faults == []
    visitor.context.close()
