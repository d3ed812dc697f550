"""Calls of a language model: kept, retried, counted, resumed, and one clear error when the server is gone."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from radvqa.calls import Call, Calls, ServerGone, system, user
from radvqa.errors import InputError
from scripted_server import Body, Stall, Status, completion, serving


def ask(number: int, **parameters) -> Call:
    return Call([system("Say yes."), user(f"question {number}")], parameters)


def said(request) -> str:
    return request["messages"][-1]["content"]


def calls(tmp_path, server, **settings) -> Calls:
    return Calls(tmp_path / "calls.sqlite", server.url, "scripted", **{"pause_s": 0.01, **settings})


def test_replies_come_in_order_and_are_paid_for_once(tmp_path):
    def script(request, number):
        time.sleep(0.02 if number % 3 == 0 else 0)  # so that later calls overtake
        return f"about {said(request)}"

    with serving(script) as server:
        with calls(tmp_path, server, prices=(1.0, 10.0)) as client:
            found = [reply.text for reply in client.run(ask(n) for n in range(30))]
            assert found == [f"about question {n}" for n in range(30)]
            assert (client.totals.asked, client.totals.cached) == (30, 0)
            # 30 calls of 10 tokens read and 2 written
            assert (client.totals.prompt_tokens, client.totals.completion_tokens) == (300, 60)
            assert client.totals.cost == pytest.approx((300 * 1.0 + 60 * 10.0) / 1e6)
        with calls(tmp_path, server) as client:
            again = [reply.text for reply in client.run(ask(n) for n in range(31))]
            assert again[:30] == found and (client.totals.asked, client.totals.cached) == (1, 30)
        assert len(server.requests) == 31 and server.busiest <= 8
        assert server.requests[0]["model"] == "scripted" and server.requests[0]["seed"] == 0


def test_a_call_is_its_messages_model_parameters_and_seed():
    call = ask(1, temperature=0.5)
    same = Call([dict(reversed(list(message.items()))) for message in call.messages], {"temperature": 0.5})
    assert call.key("a") == same.key("a")
    others = [ask(2, temperature=0.5), ask(1), Call(call.messages, call.parameters, seed=1)]
    assert len({call.key("a"), call.key("b"), *(other.key("a") for other in others)}) == 5


def test_equal_calls_are_asked_once_and_concurrency_is_bounded(tmp_path):
    def script(request, number):
        time.sleep(0.01)
        return "yes"

    with serving(script) as server, calls(tmp_path, server, concurrency=3) as client:
        assert len(list(client.run([ask(1)] * 20 + [ask(n) for n in range(10)]))) == 30
        assert len(server.requests) == 10 and server.busiest <= 3


@pytest.mark.parametrize(
    "trouble",
    [
        Status(500),
        Status(429, headers={"Retry-After": "0.01"}),
        Status(503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Body(b'{"choices": [{"message": {"content": "half'),
        Body(b'{"choices": [{"message"', cut=True),
        Body(b'{"error": "overloaded"}'),
        Body(b'{"choices": []}'),
        Stall(30),
    ],
    ids=["500", "429", "503", "malformed", "cut", "error in a reply", "no choice", "stall"],
)
def test_trouble_is_tried_again(tmp_path, trouble):
    with (
        serving(lambda request, number: trouble if number < 2 else "yes") as server,
        calls(tmp_path, server, timeout_s=1.0 if isinstance(trouble, Stall) else 120.0) as client,
    ):
        (reply,) = client.run([ask(1)])
        assert reply.text == "yes" and client.totals.retries >= 2  # a busy machine may stall once more


def test_a_call_that_keeps_failing_is_reported_not_kept_and_harms_no_other(tmp_path):
    def script(request, number):
        return Status(400, "too long") if said(request) == "question 1" else "yes"

    with serving(script) as server, calls(tmp_path, server) as client:
        found = list(client.run(ask(n) for n in range(3)))
        assert [reply.text for reply in found] == ["yes", None, "yes"]
        assert found[1].error == "status 400: too long" and client.totals.failed == 1
        assert len(server.requests) == 3  # a request that was refused is not sent again ...
        assert next(client.run([ask(1)])).error and len(server.requests) == 4  # ... but in the next run it is


def test_a_server_that_only_fails_is_given_up(tmp_path):
    with serving(lambda request, number: Status(500, "out of memory")) as server:
        with calls(tmp_path, server, retries=1) as client, pytest.raises(ServerGone, match="out of memory"):
            list(client.run(ask(n) for n in range(1000)))
        assert len(server.requests) < 100


def test_a_server_that_dies_loses_nothing(tmp_path):
    with (
        serving(lambda request, number: "yes") as server,
        calls(tmp_path, server, concurrency=2, retries=1) as client,
    ):
        found = client.run(ask(n) for n in range(40))
        for _ in range(5):
            next(found)
        server.die()
        with pytest.raises(ServerGone, match=r"replies are kept in .*calls.sqlite, the same command goes on"):
            list(found)
        kept = client.totals.asked
    with serving(lambda request, number: "yes") as server, calls(tmp_path, server) as client:
        assert len(list(client.run(ask(n) for n in range(40)))) == 40
        assert client.totals.cached == kept >= 5 and len(server.requests) == 40 - kept


def test_no_server_is_one_clear_error(tmp_path):
    with serving(lambda request, number: "yes") as server:
        url = server.url
    with (
        Calls(tmp_path / "c.sqlite", url, "m", retries=1, pause_s=0.01) as client,
        pytest.raises(ServerGone, match="no server answers"),
    ):
        list(client.run([ask(1)]))


@pytest.mark.parametrize(("status", "key"), [(401, "OPENAI_API_KEY"), (404, "model")])
def test_what_no_other_call_could_cure_stops_the_run(tmp_path, status, key):
    with serving(lambda request, number: Status(status, "no")) as server, calls(tmp_path, server) as client:
        with pytest.raises(InputError) as found:
            list(client.run(ask(n) for n in range(50)))
        assert found.value.key == key and len(server.requests) <= 8


def test_a_server_without_schemas_is_asked_without_one(tmp_path):
    def script(request, number):
        return Status(400, "unknown field") if "response_format" in request else "yes"

    schema = {"type": "json_object"}
    with serving(script) as server, calls(tmp_path, server, concurrency=1) as client:
        found = list(client.run(ask(n, response_format=schema) for n in range(5)))
        assert [reply.text for reply in found] == ["yes"] * 5 and client.structured is False
        assert len(server.requests) == 6


def test_a_picture_is_sent_and_only_hashes_are_kept(tmp_path):
    call = Call([user("Is there a mass?", b"\x89PNG not really")])
    with (
        serving(lambda request, number: completion(None, finish_reason="length")) as server,
        calls(tmp_path, server) as client,
    ):
        (reply,) = client.run([call])
    assert reply.text == "" and reply.finish == "length"
    sent = server.requests[0]["messages"][0]["content"]
    assert sent[0]["image_url"]["url"].startswith("data:image/png;base64,") and sent[1]["text"] == "Is there a mass?"
    rows = sqlite3.connect(tmp_path / "calls.sqlite").execute("SELECT * FROM calls").fetchall()
    assert len(rows) == 1 and "mass" not in str(rows)


def test_bad_input(tmp_path):
    (tmp_path / "text").write_text("no database, but long enough to be looked at as one" * 50)
    with pytest.raises(InputError, match="not a file of calls"):
        Calls(tmp_path / "text", "http://localhost/v1", "m")
    with pytest.raises(InputError, match="base_url"):
        Calls(tmp_path / "c", "localhost:11434", "m")
    with pytest.raises(InputError, match="concurrency"):
        Calls(tmp_path / "c", "http://localhost/v1", "m", concurrency=0)


def test_a_killed_run_loses_no_reply_and_pays_for_none_twice(tmp_path):
    """SIGKILL while replies come in: what the store holds is not asked again; only calls under way may be."""
    code = (
        "import sys; from radvqa.calls import *;"
        "c = Calls(sys.argv[1], sys.argv[2], 'scripted', concurrency=4);"
        "[None for _ in c.run(Call([user(f'question {n}')]) for n in range(60))]"
    )
    seen = threading.Semaphore(0)

    def script(request, number):
        seen.release()
        time.sleep(0.003)
        return f"about {said(request)}"

    with serving(script) as server:
        for kill_after in (7, 12, 15):
            process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "calls.sqlite"), server.url])
            for _ in range(kill_after):
                seen.acquire(timeout=60)
            process.send_signal(signal.SIGKILL)
            process.wait()
        with calls(tmp_path, server, concurrency=4) as client:
            found = [reply.text for reply in client.run(Call([user(f"question {n}")]) for n in range(60))]
        assert found == [f"about question {n}" for n in range(60)]
        # at most the calls under way at each of three kills were sent again
        assert 60 <= len(server.requests) <= 60 + 3 * 4
