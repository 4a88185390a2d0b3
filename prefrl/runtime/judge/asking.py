"""Asking a judge: the question, reading its answer, and combining both orders."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prefrl.core.comparisons import Answer, Item
from prefrl.runtime.judge.cache import Said

__all__ = [
    "AGAIN",
    "Chooser",
    "Exhibit",
    "Judge",
    "JudgeAwayError",
    "SpentError",
    "UnreadableError",
    "Verdict",
    "messages_for",
    "read_answer",
    "storable",
]

Part = Mapping[str, Any]
"""A part of a message in OpenAI's protocol: a text, or a picture."""
Exhibit = Callable[[Any, Any], Sequence[Part]]
"""From two items to what the judge is shown of them, the first one as A."""

_FORMAT = (
    'Answer with one JSON object and nothing else: {"reason": "one or two sentences", "answer": '
    '"A" or "B" or "tie"}. Say tie only if neither is better.'
)
AGAIN = (
    'That cannot be read. Answer with the JSON object alone, as in {"reason": "…", "answer": "A"}.'
)
"""What the judge is told when its answer cannot be read."""
_MEANT = {"a": "first", "b": "second", "tie": "tie"}
_THOUGHTS = re.compile(r"^.*</think>", re.DOTALL)
_MOST_OF_A_REASON = 1000


class JudgeAwayError(Exception):
    """The judge cannot be asked at the moment; it may work later."""


class UnreadableError(Exception):
    """The judge's answer to this question cannot be read, however often it is asked."""


class SpentError(Exception):
    """The budget is used up."""


class Chooser(Protocol):
    """Chooses the better of two items, shown in one order."""

    async def choose(self, first: Any, second: Any) -> Said:
        """What is said of the two, shown in this order.

        Raises:
            JudgeAwayError: If it cannot be asked now.
            UnreadableError: If there is no answer to this question.
            SpentError: If the budget does not allow it.
            ConfigError: If it will never work.
        """
        ...


@dataclass(frozen=True)
class Verdict:
    """A judge's answer to a pair."""

    answer: Answer
    """About left and right."""
    reason: str
    """Why; of two orders, what was said in each."""
    order_shown: str | None
    """"left-right" or "right-left" where one order was asked; None of both."""
    contradicts: bool = False
    """Whether the two orders had different answers."""


class Judge:
    """Asks in one order or both.

    Position bias is the rule with models: where the two orders do not agree, the pair is a tie, as
    in Zheng et al. 2023 (arXiv 2306.05685, section 3.4, the conservative way).

    Args:
        chooser: Is asked.
        both: Whether in both orders. One order is drawn by the names of the two items, so that no
            side is shown first more often.
    """

    def __init__(self, chooser: Chooser, *, both: bool) -> None:
        self._chooser = chooser
        self._both = both

    async def compare(self, left: Item, right: Item) -> Verdict:
        """The judge's answer to the query that shows these two items."""
        if not self._both:
            if _is_turned(left.id, right.id):
                said = await self._chooser.choose(right, left)
                return Verdict(_answer(said).mirrored, said.reason, "right-left")
            said = await self._chooser.choose(left, right)
            return Verdict(_answer(said), said.reason, "left-right")
        said = await self._chooser.choose(left, right)
        if said.better == "tie":  # whatever the other order brings, it is a tie
            return Verdict(Answer.TIE, said.reason, None)
        turned = await self._chooser.choose(right, left)
        answers = _answer(said), _answer(turned).mirrored
        reason = f"left first: {said.reason} | right first: {turned.reason}"
        if answers[0] is answers[1]:
            return Verdict(answers[0], reason, None)
        return Verdict(Answer.TIE, reason, None, contradicts=True)


def _answer(said: Said) -> Answer:
    return {"first": Answer.LEFT, "second": Answer.RIGHT, "tie": Answer.TIE}[said.better]


def _is_turned(left: str, right: str) -> bool:
    return bool(hashlib.blake2b(f"{left} {right}".encode(), digest_size=1).digest()[0] & 1)


def messages_for(rubric: str, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """The messages that ask a question.

    Args:
        rubric: What is better.
        parts: What the judge is shown. Texts alone become one text, which every server takes.
    """
    content: Any = [*parts, {"type": "text", "text": _FORMAT}]
    if all(part["type"] == "text" for part in content):
        content = "\n\n".join(part["text"] for part in content)
    return [{"role": "system", "content": rubric}, {"role": "user", "content": content}]


def read_answer(text: str | None) -> Said | None:
    """Parses an answer; None if it cannot be read.

    What a model thinks aloud before it, and a fence of Markdown around it, do no harm.
    """
    text = _THOUGHTS.sub("", text or "")
    try:
        told = json.loads(text[text.index("{") : text.rindex("}") + 1])
        better = _MEANT[str(told["answer"]).strip().lower()]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    reason = " ".join(str(told.get("reason") or "").split())
    return Said(better, reason[:_MOST_OF_A_REASON])


def storable(text: str) -> str:
    """Removes what neither databases nor requests accept: lone surrogates and NUL.

    JSON can hold both, and half an emoji is what a model writes that runs out of tokens.
    """
    return text.encode("utf-8", "replace").decode().replace("\0", "")
