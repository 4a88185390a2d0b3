"""While the server is away the page opens, shows what it keeps, and takes answers."""

from pages import Visitor, needs_chromium, picture, wait_for

pytestmark = needs_chromium

KEPT = """async () => {
  const size = async (name) => (await (await caches.open(name)).keys()).length;
  const counts = await Promise.all((await caches.keys()).map(size));
  return counts.sort((a, b) => a - b).join(" ");
}"""

NOT_ANSWERED = """() => Object.entries(localStorage)
  .filter(([key]) => key.startsWith("prefrl-pairs"))
  .flatMap(([, kept]) => JSON.parse(kept).map(({ id }) => id))"""


def test_the_page_opens_and_takes_answers_while_the_server_is_away(study, browser):
    study.add_pairs(30)
    visitor = Visitor(browser, study.owner_link)
    page = visitor.page
    shown = [visitor.press("ArrowLeft")]
    visitor.wait_until_saved()
    # The page and the four films of the samples are kept.
    wait_for(lambda: len(page.evaluate(KEPT).split()) == 2)
    wait_for(lambda: int(page.evaluate(KEPT).split()[-1]) > 15)
    wait_for(lambda: page.evaluate("Boolean(navigator.serviceWorker.controller)"))
    page.wait_for_timeout(1000)
    # An answer that is looked at again stays one, whether its pair is left or the page.
    next_one = visitor.task
    for is_left in (True, False):
        page.keyboard.press("h")
        page.locator("#answered-list li button").click()
        wait_for(lambda: visitor.task == shown[0][0])
        assert shown[0][0] not in page.evaluate(NOT_ANSWERED)
        if is_left:
            page.keyboard.press("Escape")
            wait_for(lambda: visitor.task == next_one)
            assert shown[0][0] not in page.evaluate(NOT_ANSWERED)
    study.kill()
    page.reload()
    visitor.wait("showing")
    page.wait_for_selector("#saved[data-how=offline]")
    assert next_one in page.evaluate(NOT_ANSWERED)
    assert shown[0][0] not in page.evaluate(NOT_ANSWERED)
    shown += [visitor.next(key) for key in ("ArrowRight", "ArrowLeft")]
    page.wait_for_selector("body[data-outbox='2']")
    visitor.press("Backspace")  # and think again
    assert (visitor.task, visitor.order) == shown[-1]
    shown[-1] = visitor.press("ArrowUp")
    page.wait_for_selector("body[data-outbox='4']")
    picture(page, "labelling_offline")
    page.close()  # all that is kept outlives the page
    visitor.page = page = visitor.tab()
    page.goto(study.address)
    page.wait_for_selector("body[data-outbox='4']")
    visitor.wait("showing")
    assert visitor.task not in {task for task, _ in shown}
    study.serve()
    visitor.wait_until_saved()
    wait_for(lambda: len(study.events()) == 5)
    assert [e.query_id for e in study.events() if e.answer is not None] == [
        *(task for task, _ in shown[:3]), shown[2][0],
    ]  # fmt: skip
    shown.append(visitor.next("ArrowLeft"))
    visitor.wait_until_saved()
    wait_for(lambda: len(study.events()) == 6)
    assert len({e.query_id for e in study.answers()}) == 4
    assert visitor.faults == []
    visitor.context.close()


def test_a_browser_that_was_never_here_sees_nothing_of_it(study, browser):
    """And who was shut out while the server was away is told so when it is back."""
    study.add_pairs(10)
    anna = Visitor(browser, study.link("anna"))
    wait_for(lambda: anna.page.evaluate("Boolean(navigator.serviceWorker.controller)"))
    wait_for(lambda: len(anna.page.evaluate(KEPT).split()) == 2)
    anna.page.wait_for_timeout(1000)
    study.kill()
    anna.page.reload()
    anna.next("ArrowLeft")
    study.people.revoke("anna")
    study.serve()
    anna.wait("signin")
    assert "1 answer is kept here" in anna.page.inner_text("#notice-text")
    assert study.events() == []
    stranger = browser.new_context()
    page = stranger.new_page()
    page.goto(study.address)
    page.wait_for_selector("body[data-state=signin]")
    assert page.evaluate("localStorage.length") <= 1
    assert page.evaluate("Object.keys(localStorage).filter(key => key.includes('me/')).length") == 0
    stranger.close()
    anna.context.close()


def test_the_keeper_is_served_with_the_headers_of_all(study):
    with study.client() as nobody:
        answer = nobody.get("/sw.js")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "/api/" not in answer.text  # what the server says of pairs and answers is not kept
