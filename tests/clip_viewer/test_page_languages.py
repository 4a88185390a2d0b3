"""The page in German: in each state it says nothing in English; another language is a choice."""

import json
import re
from pathlib import Path

import pytest
from pages import Visitor, needs_chromium, picture, wait_for

import clip_viewer
from prefrl.core.comparisons import Answer
from prefrl.core.store import LabelStore
from prefrl.runtime.roles.role import Heartbeat

pytestmark = needs_chromium
STATIC = Path(clip_viewer.__file__).parent / "static"
TEXTS = """() => {
  const content = ".text, .prompt, .goal, #title, select, script, noscript, tbody th, strong";
  const found = [document.title];
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) return found.push(node.textContent.trim());
    if (node.matches(content)) return;
    for (const name of ["aria-label", "placeholder", "title"]) {
      if (node.hasAttribute(name)) found.push(node.getAttribute(name));
    }
    node.childNodes.forEach(walk);
  };
  walk(document.body);
  return found.filter(Boolean);
}"""


def patterns(tag):
    """What a language says, as expressions; values stand for anything."""
    words = json.loads((STATIC / "words" / f"{tag}.json").read_text())
    texts = [t for v in words.values() for t in (v.values() if isinstance(v, dict) else [v])]
    return {
        re.sub(r"\\{\w+\\}", ".+?", re.escape(text))
        for text in texts
        if len(re.findall(r"[a-z]", re.sub(r"\{\w+\}", "", text))) > 2
    }


ENGLISH, GERMAN = patterns("en"), patterns("de")
IN_ENGLISH = re.compile("|".join(rf"\b{text}(?!\w)" for text in sorted(ENGLISH - GERMAN)))


def reads_german(page):
    """Nothing that is there, on the screen or not, is in English; gives all of it."""
    assert page.get_attribute("html", "lang") == "de"
    texts = page.evaluate(TEXTS)
    assert len(texts) > 20
    assert [text for text in texts if IN_ENGLISH.search(text)] == []
    return texts


def says(page, text, place="#notice"):
    wait_for(lambda: text in page.inner_text(place))
    return reads_german(page)


def test_what_is_looked_for_would_be_found():
    for text in ("Saved", "3 answers are kept here until then.", "Left is better", "agent: acting"):
        assert IN_ENGLISH.search(text), text
    for text in ("Gespeichert", "Links ist besser", "Agent: handelt", "1.200 Schritte"):
        assert not IN_ENGLISH.search(text), text


@pytest.fixture
def training(study):
    """The page of a training; gives what the agent says of itself by."""
    study.run.write_json(study.run.config, {"title": "Läufe", "algo": "ppo", "labels": 60})
    study.kill()
    study.serve()
    agent = Heartbeat(study.run, "agent")
    agent.beat("acting")
    return agent


def test_a_person_labels_and_looks_back_in_german(study, training, browser):
    anna = Visitor(browser, study.link("anna"), begins=False, locale="de-DE")
    page = anna.page
    page.wait_for_selector("#instructions[open]")
    assert "Was ist besser?" in page.inner_text("#instructions-text")
    assert "Los geht\u2019s" in page.inner_text("#instructions-close")
    assert page.inner_text("kbd[data-key=undo]") == "⌫"  # also before there is a pair
    reads_german(page)
    picture(page, "labelling_german_instructions")
    anna.begin()
    read = page.evaluate("localStorage.getItem('prefrl-read')")
    assert page.title() == "Läufe: Was ist besser?"
    assert page.get_by_role("button", name="Links ist besser").count() == 2  # the clip and below
    first = anna.next("ArrowLeft")
    assert page.inner_text("#said") == "Links ist besser ✓"
    anna.wait_until_saved()
    assert page.inner_text("#saved") == "Gespeichert"
    wait_for(lambda: page.inner_text("#done") == "1 von 60")
    reads_german(page)
    picture(page, "labelling_german")
    # A flag, one's own answers, the keys.
    anna.look()
    page.keyboard.press("f")
    says(page, "Was stimmt hier nicht?", "#flagging")
    page.keyboard.type("steht still")
    page.keyboard.press("Enter")
    says(page, "Der Studienleitung gemeldet.", "#said")
    page.keyboard.press("h")
    says(page, "Links ist besser", "#answered")
    picture(page, "labelling_german_answers")
    page.locator("#answered-list button").click()
    says(page, "Dieses Paar haben Sie schon beantwortet.", "#said")
    anna.press("ArrowRight")
    anna.wait_until_saved()
    page.click("#show-keys")
    assert "Leertaste" in reads_german(page)
    page.click("#keys-close")
    with LabelStore(study.run.labels) as store:
        said = {c.query.id: c.answer for _, c in store.comparisons(annotator="anna")}
    seen = Answer.RIGHT.mirrored if first[1] == "right-left" else Answer.RIGHT
    assert said == {first[0]: seen}  # changed
    assert {event.rubric_ver for event in study.answers()} == {read}  # of these instructions
    assert anna.faults == []
    anna.context.close()


def test_what_the_page_says_while_there_is_nothing_in_german(study, training, browser):
    anna = Visitor(browser, study.link("anna"), locale="de-DE")
    page, agent = anna.page, training
    while anna.page.evaluate("document.body.dataset.state") == "showing":
        anna.look()
        if page.locator(".showing.shown .ranking").count():
            for key in "312":
                page.keyboard.press(key)
            says(page, "Vom besten an: 3, 1, 2", "#said")
            reads_german(page)
        anna.press("Enter" if page.locator(".showing.shown .ranking").count() else "ArrowUp")
    agent.beat("acting")
    says(page, "Fürs Erste alles beantwortet")
    assert "Agent: handelt" in page.inner_text("#notice-text")
    anna.wait_until_saved()
    study.kill()
    says(page, "Der Server ist nicht erreichbar")
    assert page.inner_text("#saved") == "Server nicht erreichbar"
    # A service worker keeps the words, too; of both languages.
    wait_for(lambda: page.evaluate("Boolean(navigator.serviceWorker.controller)"))
    page.reload()
    says(page, "Der Server ist nicht erreichbar")
    page.locator("#top select.language").select_option("en")
    page.wait_for_selector("html[lang=en]")
    wait_for(lambda: "The server is away" in page.inner_text("#notice"))
    page.reload()  # it is kept
    page.wait_for_selector("html[lang=en]")
    page.locator("#top select.language").select_option("de")
    page.wait_for_selector("html[lang=de]")
    study.serve()
    agent.beat("acting")
    says(page, "Fürs Erste alles beantwortet")
    agent.beat("stopped")
    says(page, "Das Training ist angehalten")
    study.run.policy.touch()
    says(page, "Fertig, vielen Dank!")
    study.people.revoke("anna")
    page.reload()
    says(page, "Bitte melden Sie sich an")
    # The server's own sentence, in the language of the page.
    page.goto(f"{study.address}/#enter=no-such-link")
    says(page, "Dieser Link wurde schon benutzt oder ist zu alt")
    assert anna.faults == []
    anna.context.close()


def test_the_dashboard_in_german(study, browser):
    study.add_pairs(2)
    owner = Visitor(browser, study.owner_link, locale="de-AT")
    owner.press("ArrowUp")
    owner.wait_until_saved()
    page = owner.page
    page.get_by_role("link", name="Übersicht").click()
    page.wait_for_selector("#study:not([hidden])")
    wait_for(lambda: page.locator("#people tbody th").count() == 1)
    told = reads_german(page)
    assert {
        "Wer bewertet, und wie",
        "Mit sich einig",
        "ein Name",
    } <= {*told}
    assert any(text.startswith("Studienleitung") for text in told)  # and perhaps that she is there
    picture(page, "labelling_german_dashboard")
    page.fill("#name", "x" * 64)
    page.click("#invite button")
    wait_for(lambda: "#enter=" in page.inner_text("#link"))
    page.get_by_role("button", name="Ausschließen").click()
    wait_for(lambda: "ausgeschlossen" in page.inner_text("#invited"))
    page.fill("#name", "oracle")
    page.click("#invite button")
    wait_for(lambda: "Ein Name hat 1 bis 64 druckbare Zeichen" in page.inner_text("#link"))
    reads_german(page)
    page.locator("select.language").select_option("English")
    page.wait_for_selector("html[lang=en]")
    wait_for(lambda: "Who labels, and how" in page.inner_text("#study"))
    assert owner.faults == []
    owner.context.close()
