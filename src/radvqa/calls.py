"""Calls of a language model: concurrent, retried, counted, and each paid for once.

In: chat messages for any OpenAI-compatible server. Out: replies in the order of the calls; every reply is kept in an
SQLite file under hash(messages, model, parameters, seed) the moment it arrives, so that a killed run resumes where it
was and a server that dies loses nothing.

    with Calls("calls.sqlite", "http://localhost:11434/v1", "llama3.1:8b", concurrency=8) as calls:
        for reply in calls.run(Call([user("Is there a mass?", png)], seed=k) for k in range(5)): print(reply.text)

Of a prompt only its hash is kept, of a reply all of it. The key of a server that wants one is read from OPENAI_API_KEY.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radvqa.call_store import CallStore
from radvqa.errors import InputError

Message = Mapping[str, Any]
WINDOW = 8
"""Calls begun ahead of the one that is waited for, in multiples of the concurrency."""
TRANSIENT = (408, 409, 425, 429)
"""Statuses below 500 that another try may cure."""
LONGEST_PAUSE_S = 60.0
FIRST_TRIES = 1
"""Further tries at a server that has not answered yet: its address may be wrong."""


class ServerGone(ConnectionError):
    """The server cannot be reached, or answers nothing any more. What it answered before is kept."""


@dataclass(frozen=True)
class Call:
    """One question to a language model."""

    messages: Sequence[Message]
    """As the chat API has them: role and content."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What else the request says: temperature, max_tokens, response_format, logprobs ..."""
    seed: int = 0
    """Calls that differ only in their seed are different calls. It is sent along."""

    def key(self, model: str) -> str:
        """What the reply is kept under: SHA-256 of messages, model, parameters and seed."""
        return _sha256([self.messages, model, dict(self.parameters), self.seed])


@dataclass(frozen=True)
class Reply:
    """What came back. A failed call has an error and no text; it is not kept, so the next run asks again."""

    key: str
    text: str | None
    error: str | None = None
    finish: str | None = None
    """stop, length (the reply was cut at max_tokens), content_filter ..."""
    raw: Mapping[str, Any] = field(default_factory=dict)
    """The server's whole reply."""
    cached: bool = False


@dataclass
class Totals:
    """What a `Calls` has done so far."""

    asked: int = 0
    """Replies that were paid for."""
    cached: int = 0
    failed: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """In the unit of the prices."""


def user(text: str, picture: bytes | None = None, media: str = "image/png") -> dict[str, Any]:
    """A message of the user, with the file of a picture before the text where one is given."""
    if picture is None:
        return {"role": "user", "content": text}
    url = f"data:{media};base64,{base64.b64encode(picture).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return {"role": "user", "content": content}


def system(text: str) -> dict[str, Any]:
    """A message that sets the task."""
    return {"role": "system", "content": text}


class Calls:
    """A client of one model on one server, with its store. Use it as a context manager."""

    def __init__(
        self,
        store: str | Path,
        base_url: str,
        model: str,
        *,
        concurrency: int = 8,
        timeout_s: float = 120.0,
        retries: int = 6,
        pause_s: float = 1.0,
        prices: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """base_url: up to and with /v1. timeout_s: of one try. retries: further tries of a call, after pause_s, twice
        that ... (or what the server asks for). prices: of a million tokens read and written.
        """
        if not base_url.startswith(("http://", "https://")):
            raise InputError(f"found {base_url!r}", key="base_url", fix="give it like http://localhost:11434/v1")
        if concurrency < 1:
            raise InputError(f"found {concurrency}", key="concurrency", fix="at least one call at a time")
        self.base_url, self.model, self.prices = base_url, model, prices
        self.concurrency, self.timeout_s, self.retries, self.pause_s = concurrency, timeout_s, retries, pause_s
        self.totals = Totals()
        self.structured = True
        """Whether response_format is sent; false once the server has refused it."""
        self._store = CallStore(store)
        self._failed_in_a_row = 0
        self._fatal: Exception | None = None
        self._under_way: dict[str, asyncio.Task[Reply]] = {}

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def run(self, calls: Iterable[Call], progress: Callable[[int], None] | None = None) -> Iterator[Reply]:
        """The replies, in the order of the calls; of those a bounded number is read ahead.

        progress: called with the number of replies so far. Raises ServerGone, and InputError where the server does not
        know the model or the key.
        """
        with asyncio.Runner() as runner:
            client = runner.run(self._connect())
            waiting: deque[asyncio.Task[Reply]] = deque()
            source, done = iter(calls), 0
            try:
                while True:
                    while len(waiting) < WINDOW * self.concurrency and (call := next(source, None)) is not None:
                        waiting.append(self._begin(runner.get_loop(), client, call))
                    if not waiting:
                        return
                    reply = runner.run(_finished(waiting.popleft()))
                    done += 1
                    if progress:
                        progress(done)
                    yield reply
            finally:
                self._under_way.clear()
                runner.run(_stop(waiting, client))

    def account(self) -> str:
        """What was done, in one line."""
        done = self.totals
        parts = [f"{done.asked:,} calls of {self.model}", f"{done.cached:,} replies kept from before"]
        parts += [f"{done.prompt_tokens:,} tokens read and {done.completion_tokens:,} written"] if done.asked else []
        parts += [f"cost {done.cost:.2f}"] if done.cost else []
        parts += [
            f"{number:,} {name}" for name, number in (("retries", done.retries), ("failed", done.failed)) if number
        ]
        return ", ".join(parts)

    async def _connect(self) -> Any:
        from openai import AsyncOpenAI

        self._free, self._fatal, self._failed_in_a_row = asyncio.Semaphore(self.concurrency), None, 0
        key = os.environ.get("OPENAI_API_KEY") or "none"
        return AsyncOpenAI(base_url=self.base_url, api_key=key, max_retries=0, timeout=self.timeout_s)

    def _begin(self, loop: asyncio.AbstractEventLoop, client: Any, call: Call) -> asyncio.Task[Reply]:
        """The call's task; equal calls share one."""
        key = call.key(self.model)
        if key not in self._under_way:
            task = loop.create_task(self._reply(client, call, key))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return self._under_way[key]

    async def _reply(self, client: Any, call: Call, key: str) -> Reply:
        if (raw := self._store.get(key)) is not None:
            self.totals.cached += 1
            return _read(key, raw, cached=True)
        async with self._free:
            if self._fatal is not None:
                raise self._fatal
            try:
                return await self._tries(client, call, key)
            except Exception as error:
                self._fatal = error  # the calls that have not begun need not
                raise

    async def _tries(self, client: Any, call: Call, key: str) -> Reply:
        attempt = 0
        while True:
            start = time.perf_counter()
            try:
                reply = _read(key, await self._ask(client, call))
            except Exception as error:
                failure = _explained(error, self)
                never_there = failure.gone and not self.totals.asked
                if failure.final or attempt >= (min(FIRST_TRIES, self.retries) if never_there else self.retries):
                    return self._give_up(key, failure)
                self.totals.retries += 1
                await asyncio.sleep(failure.wait_s or self._pause(attempt))
                attempt += 1
            else:
                self._keep(call, reply, time.perf_counter() - start)
                return reply

    def _pause(self, attempt: int) -> float:
        """Twice as long after every try, and never the same for two calls that failed together."""
        return min(self.pause_s * 2**attempt, LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)

    async def _ask(self, client: Any, call: Call) -> dict[str, Any]:
        from openai import BadRequestError, UnprocessableEntityError

        body = {"seed": call.seed, **call.parameters}
        if not self.structured:
            body.pop("response_format", None)
        try:
            return await self._send(client, call, body)
        except (BadRequestError, UnprocessableEntityError):
            if "response_format" not in body:
                raise
            body.pop("response_format")
            raw = await self._send(client, call, body)
            self.structured = False  # the same request without it is answered: the server knows no schemas
            return raw

    async def _send(self, client: Any, call: Call, body: Mapping[str, Any]) -> dict[str, Any]:
        async with asyncio.timeout(self.timeout_s):
            create = client.chat.completions.with_raw_response.create
            reply = await create(model=self.model, messages=list(call.messages), extra_body=body)
            return json.loads(reply.text)

    def _keep(self, call: Call, reply: Reply, seconds: float) -> None:
        usage = reply.raw.get("usage") or {}
        read, written = (int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens"))
        cost = (read * self.prices[0] + written * self.prices[1]) / 1e6
        about = {"model": self.model, "prompt": _sha256(call.messages), "parameters": dict(call.parameters)}
        self._store.put(reply.key, reply.raw, about | {"seed": call.seed, "seconds": round(seconds, 3), "cost": cost})
        self._failed_in_a_row = 0
        self.totals.asked += 1
        self.totals.prompt_tokens += read
        self.totals.completion_tokens += written
        self.totals.cost += cost

    def _give_up(self, key: str, failure: _Failure) -> Reply:
        self.totals.failed += 1
        self._failed_in_a_row += 1
        if failure.gone or self._failed_in_a_row >= max(10, 2 * self.concurrency):
            kept = f"{self.totals.asked + self.totals.cached:,} replies are kept in {self._store.path}"
            raise ServerGone(f"{self.base_url}: {failure.words}; {kept}, the same command goes on from there")
        return Reply(key, None, failure.words)


# ---------------------------------------------------------------- what goes wrong


@dataclass(frozen=True)
class _Failure:
    words: str
    final: bool = False
    """Another try would end the same way."""
    gone: bool = False
    """There is no server."""
    wait_s: float | None = None
    """How long the server asks to wait."""


def _explained(error: Exception, calls: Calls) -> _Failure:
    """What an error of one try means. Raises InputError for what no other call could cure, and what is no error of a
    call."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, APIStatusError):
        return _refused(error.status_code, _said(error), error.response.headers.get("retry-after"), calls)
    if isinstance(error, (TimeoutError, APITimeoutError)):
        return _Failure(f"no reply within {calls.timeout_s:g} s")
    if isinstance(error, APIConnectionError):
        cause = error.__cause__ or error
        gone = type(cause).__name__ == "ConnectError"
        return _Failure(f"no server answers ({cause})" if gone else f"the reply was cut ({cause})", gone=gone)
    if isinstance(error, ValueError) and not isinstance(error, InputError):
        return _Failure(f"the reply is not what the chat API sends ({error})")
    raise error


def _refused(status: int, said: str, retry_after: str | None, calls: Calls) -> _Failure:
    if status in (401, 403):
        raise InputError(
            f"{calls.base_url} refuses the key ({said})", key="OPENAI_API_KEY", fix="set it to a valid key"
        )
    if status == 404:
        fix = "check the name of the model, and that the address ends in /v1"
        raise InputError(f"{calls.base_url} does not know {calls.model!r} ({said})", key="model", fix=fix)
    try:
        wait = None if retry_after is None else min(float(retry_after), LONGEST_PAUSE_S)
    except ValueError:  # a date
        wait = None
    return _Failure(f"status {status}: {said}", final=status < 500 and status not in TRANSIENT, wait_s=wait)


def _said(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return " ".join(str(body.get("message") or body.get("detail") or error.message).split())[:300]


def _read(key: str, raw: Any, cached: bool = False) -> Reply:
    """The reply in a chat completion; ValueError where there is none."""
    try:
        choice = raw["choices"][0]
        text = choice["message"].get("content") or choice["message"].get("refusal") or ""
        return Reply(key, str(text), None, choice.get("finish_reason"), raw, cached)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"no choice in it, but {json.dumps(raw)[:200]}") from error


# ---------------------------------------------------------------- small things


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


async def _finished(task: asyncio.Task[Reply]) -> Reply:
    return await task


async def _stop(tasks: Iterable[asyncio.Task[Reply]], client: Any) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()
