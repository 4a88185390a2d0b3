"""Films and texts of one's own, compared at the page and ranked on the dashboard."""

import json

import pytest
from own_films import make_film, recorded_film
from pages import PLAIN, Served, Visitor, needs_chromium, picture, wait_for

from prefrl.runtime.own.folder import Chosen, make_folder

pytestmark = needs_chromium


@pytest.fixture
def served(tmp_path):
    """Serves a folder that is made of one's own things."""
    running = []

    def serve(kind, source, chosen=Chosen()):  # noqa: B008
        study = Served(make_folder(tmp_path / "study", kind, source, chosen).run, PLAIN)
        study.serve()
        running.append(study)
        return study

    yield serve
    for study in running:
        study.kill()


def test_films_of_several_kinds_and_lengths_are_compared_and_ranked(served, browser, tmp_path):
    folder = tmp_path / "Läufe"
    folder.mkdir()
    make_film(folder / "a kurz.mp4", n=12, hue=0)
    make_film(folder / "b lang.mp4", n=45, hue=1)
    make_film(folder / "c.webm", n=20, codec="libvpx", hue=2)
    (folder / "d, aufgenommen.webm").write_bytes(recorded_film(n=30, hue=4))
    study = served("films", folder)
    visitor = Visitor(browser, study.owner_link)
    page = visitor.page
    assert page.inner_text("#title") == "Läufe"
    lengths = "[...document.querySelectorAll('.showing.shown video')].map(film => film.duration)"
    differ = 0
    seen = []
    for _ in range(6):
        visitor.wait("showing")
        visitor.look()
        one, other = page.evaluate(lengths)
        if abs(one - other) > 0.3:
            differ += 1
            films = "[...document.querySelectorAll('.showing.shown video')]"
            # The shorter one waits at its end; then both begin again together.
            page.wait_for_function(
                f"() => {films}.some(f => f.ended) && !{films}.every(f => f.ended)"
            )
            page.wait_for_function(f"() => {films}.every(f => f.currentTime < 0.3 && !f.ended)")
        picture(page, "own_films")
        seen.append(visitor.press("ArrowLeft")[0])
    assert differ >= 3
    assert len(set(seen)) == 6  # every film is played, and every pair comes once
    visitor.wait_until_saved()
    page.goto(f"{study.address}/dashboard")
    page.wait_for_selector("#standings:not([hidden]) tbody tr")
    rows = page.locator("#standings tbody tr")
    assert rows.count() == 4
    rows.nth(3).scroll_into_view_if_needed()  # films load when they come near the screen
    names = {rows.nth(i).locator("th").inner_text() for i in range(4)}
    assert names == {"a kurz.mp4", "b lang.mp4", "c.webm", "d, aufgenommen.webm"}
    page.wait_for_function(
        "() => [...document.querySelectorAll('#standings video')].every(f => f.readyState > 0)"
    )
    won = [int(rows.nth(i).locator("td").nth(3).inner_text()) for i in range(4)]
    lost = [int(rows.nth(i).locator("td").nth(4).inner_text()) for i in range(4)]
    assert (sum(won), sum(lost)) == (6, 6)
    assert won == sorted(won, reverse=True)
    assert page.locator("#return").is_hidden()
    picture(page, "own_ranking")
    rows.nth(0).locator("video").hover()
    page.wait_for_function("() => !document.querySelector('#standings video').paused")
    assert visitor.faults == []
    visitor.context.close()


def test_texts_are_ranked_within_their_prompts(served, browser, tmp_path):
    source = tmp_path / "Antworten.jsonl"
    rows = [
        {"prompt": "Say hello.", "text": "Hello <b>you</b>.", "name": "kind"},
        {"prompt": "Say hello.", "text": "What do you want?", "name": "rude"},
        {"prompt": "Say goodbye.", "text": "Farewell. " + "So long. " * 40, "name": "long"},
        {"prompt": "Say goodbye.", "text": "Bye.", "name": "short"},
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = served("texts", source)
    visitor = Visitor(browser, study.owner_link)
    for _ in range(2):
        visitor.wait("showing")
        better = visitor.page.locator(".showing.shown .side", has_text="Hello").or_(
            visitor.page.locator(".showing.shown .side", has_text="Farewell")
        )
        is_left = "left" in better.get_attribute("class")
        visitor.press("ArrowLeft" if is_left else "ArrowRight")
    visitor.wait_until_saved()
    wait_for(lambda: len(study.answers()) == 2)
    visitor.page.goto(f"{study.address}/dashboard")
    bodies = visitor.page.locator("#standings tbody")
    visitor.page.wait_for_selector("#standings tbody tr")
    groups = [bodies.nth(i).locator("th").all_inner_texts() for i in range(bodies.count())]
    assert sorted(groups) == [["kind", "rude"], ["long", "short"]]
    wait_for(
        lambda: "Hello <b>you</b>." in bodies.all_inner_texts()[0] + bodies.all_inner_texts()[1]
    )
    assert visitor.faults == []
    visitor.context.close()


def test_without_things_of_ones_own_there_is_no_ranking(study):
    with study.client("boss", "owner") as owner:
        told = owner.get("/api/standings").json()
    assert told == {"groups": [], "items": 0, "compared": 0}
