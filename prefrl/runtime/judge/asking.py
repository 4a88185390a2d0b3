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
"""Part of a message in OpenAI's protocol: a text or a picture."""
Exhibit = Callable[[Any, Any], Sequence[Part]]
"""Makes what the judge is shown of two items, the first one as A."""

_FORMAT = (
    'Answer with one JSON object and nothing else: {"reason": "one or two sentences", "answer": '
    '"A" or "B" or "tie"}. Say tie only if neither is better.'
)
AGAIN = (
    'That cannot be read. Answer with the JSON object alone, as in {"reason": "…", "answer": "A"}.'
)
"""The message to the judge when its answer cannot be read."""
_MEANT = {"a": "first", "b": "second", "tie": "tie"}
_THOUGHTS = re.compile(r"^.*</think>", re.DOTALL)
_MOST_OF_A_REASON = 1000


class JudgeAwayError(Exception):
    """The judge cannot be asked at the moment; it may work later."""


class UnreadableError(Exception):
    """The judge gives no readable answer to this question, however often it is asked."""


class SpentError(Exception):
    """The judge's budget is used up."""


class Chooser(Protocol):
    """Chooses the better of two items, shown in one order."""

    async def choose(self, first: Any, second: Any) -> Said:
        """Returns the judge's answer to two items, shown in this order.

        Raises:
            JudgeAwayError: If the judge cannot be asked now.
            UnreadableError: If it gives no readable answer to this question.
            SpentError: If the budget does not allow the call.
            ConfigError: If the settings can never work.
        """
        ...


@dataclass(frozen=True)
class Verdict:
    """A judge's answer to a pair."""

    answer: Answer
    """The answer, in terms of the query's left and right."""
    reason: str
    """The reason; with two orders, the reasons given in both."""
    order_shown: str | None
    """"left-right" or "right-left" if one order was asked; None for both."""
    contradicts: bool = False
    """Whether the answers in the two orders differ."""


class Judge:
    """Compares two items by asking in one order or in both.

    Models usually have a position bias. So if the answers in the two orders differ, the pair is a
    tie, which is the conservative approach of Zheng et al. 2023 (arXiv 2306.05685, section 3.4).

    Args:
        chooser: Answers in one order.
        both: Whether to ask in both orders. Otherwise a hash of the items' ids decides the order,
            so that neither side is shown first more often.
    """

    def __init__(self, chooser: Chooser, *, both: bool) -> None:
        self._chooser = chooser
        self._both = both

    async def compare(self, left: Item, right: Item) -> Verdict:
        """Returns the judge's answer to the query with these two items."""
        if not self._both:
            if _is_turned(left.id, right.id):
                said = await self._chooser.choose(right, left)
                return Verdict(_answer(said).mirrored, said.reason, "right-left")
            said = await self._chooser.choose(left, right)
            return Verdict(_answer(said), said.reason, "left-right")
        said = await self._chooser.choose(left, right)
        if said.better == "tie":  # it is a tie whatever the answer in the other order
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
    """Makes the messages that ask a question.

    Args:
        rubric: Tells the judge what is better.
        parts: What the judge is shown. If all are texts, they become one, as every server accepts.
    """
    content: Any = [*parts, {"type": "text", "text": _FORMAT}]
    if all(part["type"] == "text" for part in content):
        content = "\n\n".join(part["text"] for part in content)
    return [{"role": "system", "content": rubric}, {"role": "user", "content": content}]


def read_answer(text: str | None) -> Said | None:
    """Parses an answer; None if it cannot be read.

    It may follow the model's thoughts, and stand in a Markdown code fence.
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

    JSON can hold both, and a model that runs out of tokens may write half an emoji.
    """
    return text.encode("utf-8", "replace").decode().replace("\0", "")
