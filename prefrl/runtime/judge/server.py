"""A judge on a server with OpenAI's protocol, on this machine or elsewhere."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from prefrl.errors import ConfigError
from prefrl.runtime.judge.asking import (
    AGAIN,
    Exhibit,
    JudgeAwayError,
    SpentError,
    UnreadableError,
    messages_for,
    read_answer,
    storable,
)
from prefrl.runtime.judge.cache import Cache, Said, digest
from prefrl.runtime.judge.config import NO_KEY, Task, api_key, is_this_machine

__all__ = ["Server"]

_NOT_SENT = ("ConnectTimeout", "PoolTimeout")  # by name: openai may use httpx or httpx2
_WRONG_QUESTION = (400, 409, 413, 422)
_NEVER = (401, 403, 404, 405)
# Not all servers accept these parameters: one that is refused is renamed, or left out (None).
_OTHERWISE = {"max_tokens": "max_completion_tokens", "temperature": None}


class Server:
    """Asks over HTTP, with growing pauses between retries; never repeats an answered question.

    It connects only to the given address: it follows no redirects, and uses no proxy to reach this
    machine.

    Args:
        task: The judge's settings and rubric.
        exhibit: Makes what the judge is shown.
        cache: Its answers so far, and their cost.
    """

    def __init__(self, task: Task, exhibit: Exhibit, cache: Cache) -> None:
        import openai

        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs a line for each call
        config = task.config
        assert config.url is not None
        self._task, self._exhibit, self._cache = task, exhibit, cache
        self._openai = openai
        self._key = api_key(config)
        self._client = openai.AsyncOpenAI(
            base_url=config.url,
            api_key=self._key,
            max_retries=config.retries,
            timeout=config.timeout,
            http_client=openai.DefaultAsyncHttpxClient(
                follow_redirects=False, trust_env=not is_this_machine(config.url)
            ),
        )
        # Otherwise these would be taken from the environment and sent.
        self._client.organization = self._client.project = None
        self._about: dict[str, Any] = {"model": config.model, "max_tokens": config.answer_tokens}
        if config.temperature is not None:
            self._about["temperature"] = config.temperature
        self._free = asyncio.Semaphore(config.parallel)
        self._n_under_way = 0

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.close()

    async def choose(self, first: Any, second: Any) -> Said:
        """Returns the judge's answer, as ``Chooser.choose`` does."""
        async with self._free:
            messages = messages_for(self._task.rubric, self._exhibit(first, second))
            asked = {"model": self._task.config.model, "messages": messages}
            key = digest(asked | {"temperature": self._task.config.temperature})
            if (known := self._cache.get(key)) is not None:
                return known
            for _ in range(self._task.config.retries + 1):
                text, tokens = await self._ask(messages)
                said = read_answer(text)
                if said is not None:
                    self._cache.answered(key, said, tokens=tokens)
                    return said
                self._cache.failed("unreadable", calls=1, tokens=tokens)
                if text:
                    answered = {"role": "assistant", "content": storable(text)}
                    messages = [*messages[:2], answered, {"role": "user", "content": AGAIN}]
        raise UnreadableError("the judge gave no answer that could be read.")

    async def _ask(self, messages: list[dict[str, Any]]) -> tuple[str | None, int]:
        """Returns the server's answer and the number of tokens that it took."""
        self._check_budget()
        self._n_under_way += 1
        try:
            while True:
                sent = dict(self._about)
                try:
                    return await self._call(messages, sent)
                except self._openai.BadRequestError as error:
                    # Another call may have renamed or dropped the parameter meanwhile.
                    if sent == self._about and not self._say_otherwise(error):
                        raise
        except self._openai.APIConnectionError as error:
            raise self._meaning_of_silence(error) from error
        except self._openai.APIStatusError as error:
            raise self._meaning_of(error) from error
        except self._openai.APIError as error:  # the response is not JSON
            self._cache.failed("no protocol", calls=1)
            raise JudgeAwayError(
                f"the judge's server does not speak the protocol: {self._as_told(error)}"
            ) from error
        finally:
            self._n_under_way -= 1

    async def _call(
        self, messages: list[dict[str, Any]], about: dict[str, Any]
    ) -> tuple[str | None, int]:
        create: Any = self._client.chat.completions.with_raw_response.create
        raw = await create(messages=messages, **about)
        if raw.retries_taken:
            self._cache.failed("again", times=raw.retries_taken)
        try:
            completion = raw.parse()
            text = completion.choices[0].message.content
            usage = completion.usage
        except (AttributeError, IndexError, TypeError, ValueError):
            return None, 0  # JSON, but not a completion
        return text, int(usage.total_tokens or 0) if usage is not None else 0

    def _check_budget(self) -> None:
        config, cache = self._task.config, self._cache
        if config.max_calls is not None and cache.n_calls + self._n_under_way >= config.max_calls:
            raise SpentError(f"all {config.max_calls:,} calls are used up")
        if config.max_tokens is not None:
            expected = self._n_under_way * cache.n_tokens / max(1, cache.n_calls)
            if cache.n_tokens + expected >= config.max_tokens:
                raise SpentError(f"{cache.n_tokens:,} of {config.max_tokens:,} tokens are used up")

    def _say_otherwise(self, error: Any) -> bool:
        """Renames or drops the parameter that the server refuses; returns whether there was one."""
        for name, other in _OTHERWISE.items():
            if name in self._about and name in str(error):
                value = self._about.pop(name)
                if other is not None:
                    self._about[other] = value
                return True
        return False

    def _meaning_of_silence(self, error: Any) -> JudgeAwayError:
        """Counts a missing response: a silent server may charge, an unreachable one does not."""
        n_times, url = self._task.config.retries + 1, self._task.config.url
        seconds = f"within {self._task.config.timeout:g} s."
        if type(error.__cause__).__name__ in _NOT_SENT:
            self._cache.failed("no connection", times=n_times)
            return JudgeAwayError(f"nothing answers at {url} {seconds}")
        if isinstance(error, self._openai.APITimeoutError):
            self._cache.failed("timeout", calls=n_times, times=n_times)
            return JudgeAwayError(f"the judge said nothing {seconds}")
        self._cache.failed("no connection", times=n_times)
        return JudgeAwayError(f"nothing answers at {url}: {error.__cause__}")

    def _meaning_of(self, error: Any) -> Exception:
        """Returns the error for a status: it never works, not for this question, or not now."""
        status, url, model = error.status_code, self._task.config.url, self._task.config.model
        retried = status in (408, 409, 429) or status >= 500
        n_times = self._task.config.retries + 1 if retried else 1
        self._cache.failed(f"status {status}", times=n_times)
        told = error.body.get("message") if isinstance(error.body, dict) else None
        said = self._as_told(told or error.message)
        if status in _NEVER or 300 <= status < 400:
            variable = self._task.config.key_from
            return ConfigError(
                f"expected {url} to answer for the model {model}, but it says {status}: {said}; "
                f"look at --judge.url, --judge.model, and the key in {variable}."
            )
        if status in _WRONG_QUESTION:
            return UnreadableError(f"the judge refuses this question: {status}, {said}")
        return JudgeAwayError(f"the judge says {status}: {said}")

    def _as_told(self, message: Any) -> str:
        """Makes a server's message safe to store: some messages repeat the key that was sent."""
        said = " ".join(str(message).split())
        if self._key != NO_KEY:
            said = said.replace(self._key, "…")
        return storable(said)[:300]
