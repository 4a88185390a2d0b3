"""A person in a real browser, played by a script that knows what is better.

It opens the page by a sign-in link, looks up what the synthetic oracle says of the pair on the
screen, and presses the key of that side, until the training is finished.
"""

import argparse
import contextlib
import time
from pathlib import Path

from browsers import open_browser

from prefrl.control.items import Items, synthetic_oracle
from prefrl.core.comparisons import Answer
from prefrl.core.oracle import OracleConfig
from prefrl.core.store import LabelStore
from prefrl.runtime.rundir import RunDirectory

KEYS = {
    Answer.LEFT: "ArrowLeft",
    Answer.RIGHT: "ArrowRight",
    Answer.TIE: "ArrowUp",
    Answer.SKIP: "ArrowDown",
}
TIMES = """() => {
  const marks = (name) => performance.getEntriesByName(name);
  const keys = marks('prefrl:key'), shown = marks('prefrl:shown');
  return keys.map((key) => {
    const next = shown.find((mark) => mark.startTime > key.startTime);
    return next ? next.startTime - key.startTime : null;
  }).filter((time) => time !== null);
}"""


class PageLabeller:
    """Answers what the page shows. Use it as a context manager.

    Args:
        run: Whose page; the true returns are looked up in there.
        link: A sign-in link.
        pause: Seconds to look at each pair before the answer.
        judge: Items by id, and who compares them; None looks up true returns of segments.
        browser: One that is open already; None starts one.
    """

    def __init__(
        self, run: RunDirectory, link: str, *, pause: float, judge=None, browser=None
    ) -> None:
        if judge is None:
            items = Items(run, states=False)
            judge = items, synthetic_oracle(items, OracleConfig(), seed=0)
        self._items, self._oracle = judge
        self._run, self._link, self._pause = run, link, pause
        self._given, self._open = browser, contextlib.ExitStack()
        self.n_answers = 0
        self.times_ms: list[float] = []
        """From key to next pair, in milliseconds; if none was there, with the wait for it."""
        self.first_at: float | None = None
        """When the first pair was on the screen, by the monotonic clock."""
        self.last_at = 0.0
        """When the last answer was given."""
        self.was_ready: list[bool] = []
        """Whether the next pair was there when the key was pressed, for each answer."""

    def __enter__(self) -> "PageLabeller":
        browser = self._given or self._open.enter_context(open_browser())
        self.page = browser.new_page(viewport={"width": 1280, "height": 800})
        self.page.goto(self._link)
        self.page.wait_for_selector("#instructions[open]")
        self.page.click("#instructions-close")
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def work(self, *, answers: int | None = None) -> None:
        """Answers until the training is finished, or so many answers are given."""
        with LabelStore(self._run.labels) as store:
            while not self._run.summary.is_file() and not self._run.policy.is_file():
                if answers is not None and self.n_answers >= answers:
                    break
                if not self._answer(store):
                    time.sleep(0.05)
        self.page.wait_for_selector("body[data-outbox='0']")
        self.times_ms = self.page.evaluate(TIMES)

    def _answer(self, store: LabelStore) -> bool:
        """Answers the pair on the screen; whether there was one."""
        shown = self.page.evaluate(
            "({...document.getElementById('stage').dataset, state: document.body.dataset.state})"
        )
        if shown["state"] != "showing" or "task" not in shown:
            return False
        self.first_at = self.first_at or time.monotonic()
        (query,) = store.find([shown["task"]])
        answer = self._oracle.compare(self._items[query.left], self._items[query.right])
        seen = answer.mirrored if shown["order"] == "right-left" else answer
        time.sleep(self._pause)
        self.page.wait_for_selector("body[data-takes=yes]")  # nobody sees a pair sooner
        self.page.keyboard.press(KEYS[seen])
        self.n_answers, self.last_at = self.n_answers + 1, time.monotonic()
        # The next one is on the screen, or there is none: in either case this one is gone.
        self.page.wait_for_function(
            "n => performance.getEntriesByName('prefrl:key').length >= n"
            " && document.body.dataset.busy === 'no'",
            arg=self.n_answers,
        )
        self.was_ready.append(
            self.page.evaluate("'task' in document.getElementById('stage').dataset")
        )
        return True


def main() -> None:
    """Labels one run until it is finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("link")
    parser.add_argument("--pause", type=float, default=0.3, help="seconds to look at each pair")
    told = parser.parse_args()
    with PageLabeller(RunDirectory(told.run), told.link, pause=told.pause) as labeller:
        labeller.work()
        print(f"{labeller.n_answers} answers")


if __name__ == "__main__":
    main()
