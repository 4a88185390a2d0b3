"""Formats of requests and responses: our own JSON, and those of other trainers.

OpenRLHF 0.11.2 (``utils/agent.py``, ``SingleTurnAgentExecutor``; the same from 0.6 on) posts
``{"query": [...], "prompts": [...], "labels": [...]}``. A query is prompt and response as one text,
with all special tokens; labels are the data set's and may be null. It reads ``rewards``, ``scores``
and ``extra_logs``, a list with an entry for each query in each (``cli/serve_rm.py``).

slime (``slime/rollout/rm_hub``, ``--rm-type remote_rm``) posts one ``{"prompt", "response",
"label"}`` and takes the response as the reward: a number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from prefrl.errors import ConfigError
from prefrl.runtime.scorer import Scores, shortened

__all__ = [
    "from_openrlhf",
    "from_slime",
    "ours",
    "parsed",
    "to_openrlhf",
    "to_slime",
]


def parsed(body: bytes) -> Mapping[str, Any]:
    """Parses a body as a JSON object.

    Raises:
        ConfigError: If it is not one, or has numbers that JSON does not allow, such as NaN.
    """
    try:
        told = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # also of bytes that are not text
        raise ConfigError(f"expected an object of JSON, but {shortened(error)}.") from error
    if not isinstance(told, dict):
        raise ConfigError(f"expected an object of JSON, got {shortened(repr(told))}.")
    return told


def ours(scores: Scores) -> dict[str, Any]:
    """Converts scores to a response in our own format."""
    return {
        "version": scores.version,
        "score": scores.score.tolist(),
        "disagreement": scores.disagreement.tolist(),
        "members": scores.members.tolist(),
    }


def from_openrlhf(told: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a request of OpenRLHF to our own format.

    Raises:
        ConfigError: If it is not one, or a query does not begin with its prompt.
    """
    queries, prompts = told.get("query"), told.get("prompts")
    n = len(queries) if isinstance(queries, list) else 0
    lists = [part for part in (queries, prompts) if isinstance(part, list)]
    if (
        not n
        or [len(part) for part in lists] != [n, n]
        or not all(isinstance(text, str) for part in lists for text in part)
    ):
        raise ConfigError(
            'expected {"query": [TEXTS], "prompts": [TEXTS], "labels": [...]}, as OpenRLHF sends '
            f"since 0.6, with as many prompts as queries and at least one, got "
            f"{shortened(json.dumps(told, default=str))}."
        )
    items = []
    for place, (query, prompt) in enumerate(zip(queries or (), prompts or (), strict=True)):
        if not query.startswith(prompt):
            raise ConfigError(
                f"expected query {place} to begin with its prompt, got {shortened(repr(query))} "
                f"for {shortened(repr(prompt))}; OpenRLHF cuts prompts that are longer than its "
                "data.max_len less its rollout.max_new_tokens."
            )
        response = query[len(prompt) :]
        items.append({"prompt": prompt, "response": response, "as_written": True})
    return {"items": items}


def to_openrlhf(scores: Scores) -> dict[str, Any]:
    """Converts scores to the response that OpenRLHF reads."""
    rewards = scores.score.tolist()
    logs = {
        "reward_disagreement": scores.disagreement.tolist(),
        "reward_version": [float(scores.version)] * len(rewards),
    }
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs}


def from_slime(told: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a request of slime to our own format.

    Raises:
        ConfigError: If it is not one.
    """
    if not {"prompt", "response"} <= set(told) <= {"prompt", "response", "label"}:
        raise ConfigError(
            'expected {"prompt": TEXT or MESSAGES, "response": TEXT, "label": ...}, as slime '
            f"sends, got {shortened(json.dumps(told, default=str))}."
        )
    return {"prompt": told["prompt"], "response": told["response"], "as_written": True}


def to_slime(scores: Scores) -> float:
    """Converts scores to the response that slime reads: a single number."""
    return float(scores.score)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")
