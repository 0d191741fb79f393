import asyncio
import contextlib
import gzip
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from repic.judges.answers import TEXTS, parse_verdict
from repic.judges.client import Question
from tests.fakes import Noise
from tests.judge_server import Act, judge_server, make_judge, text_of
from tests.properties import at_most


def ask(text: str, *pictures: Any) -> Question[bool]:
    return Question(text, parse_verdict, pictures)


def nonzero(counts: dict[str, float]) -> dict[str, float]:
    return {name: count for name, count in counts.items() if count}


def test_answers_come_in_the_questions_order_and_are_counted() -> None:
    def play(body: dict[str, Any], index: int) -> Act:
        number = int(text_of(body))
        return Act("yes" if number % 2 else "no", delay=0.02 * (5 - number))

    with judge_server(play) as server:
        judge = make_judge(server.base_url)
        answers = judge.ask_all([ask(str(n)) for n in range(5)])
        assert answers == [False, True, False, True, False]
        assert judge.ask_all([]) == []
    assert nonzero(judge.take_counts()) == {
        "questions": 5,
        "answered": 5,
        "requests": 5,
        "prompt_tokens": 50,
        "completion_tokens": 10,
        "cost": pytest.approx((50 * 2 + 10 * 10) / 1e6),
    }


def test_a_request_is_what_chat_endpoints_take() -> None:
    with judge_server([Act("yes")]) as server:
        judge = make_judge(server.base_url + "/", request={"temperature": 0.5, "top_p": None})
        judge.ask_all([ask("Is it?")])
        judge.ask_all([ask("Is it red?", Image.new("RGB", (2, 2), "red"), Noise(0))])
    words, shown = server.bodies
    assert words == {
        "model": "judge",
        "messages": [{"role": "user", "content": "Is it?"}],
        "temperature": 0.5,
        "seed": 0,
    }
    assert "authorization" not in server.headers[0]
    kinds = [part["type"] for part in shown["messages"][0]["content"]]
    assert kinds == ["image_url", "image_url", "text"]
    url = shown["messages"][0]["content"][0]["image_url"]["url"]
    assert url == judge.pictures.data_url(Image.new("RGB", (2, 2), "red"))


def test_no_more_requests_at_a_time_than_allowed() -> None:
    with judge_server([Act("yes", delay=0.1)]) as server:
        make_judge(server.base_url, concurrency=3).ask_all([ask(str(n)) for n in range(12)])
    assert server.busiest == 3


@pytest.mark.parametrize(
    "passing",
    [
        Act(status=500, raw=b"oops"),
        Act(status=429, headers={"Retry-After": "0"}),
        Act(cut=True),
        Act(raw=b"<html>one moment</html>"),
        Act(raw=b'{"error": {"message": "overloaded"}}'),
        Act(raw=b'{"choices": []}'),
        Act(raw=b"[" * 100_000),
        Act(content=[1, 2]),
    ],
)
def test_what_passes_is_tried_again(passing: Act) -> None:
    with judge_server([passing, passing, Act("yes")]) as server:
        judge = make_judge(server.base_url)
        assert judge.ask_all([ask("?")]) == [True]
    counts = judge.take_counts()
    assert (counts["requests"], counts["answered"]) == (3, 1)
    first, second, third = server.times
    assert second - first >= 0.005  # half of the first delay at least
    assert third - second >= 0.01


@pytest.mark.parametrize(
    ("act", "kind", "requests"),
    [
        (Act(status=500), "http_500", 3),
        (Act(status=503), "http_503", 3),
        (Act(status=429), "http_429", 3),
        (Act(status=429, headers={"Retry-After": "3600"}), "http_429", 1),
        (Act(status=400), "http_400", 1),
        (Act(status=401), "http_401", 1),
        (Act(status=307, headers={"Location": "http://127.0.0.1:9/"}), "http_307", 1),
        (Act(cut=True), "unreachable", 3),
        (Act(delay=0.5), "timeout", 3),
        (Act(raw=b"nothing"), "malformed", 3),
        (Act("perhaps"), "unparsable", 2),
        (Act(content=None), "unparsable", 2),
        (Act("<think>yes"), "unparsable", 2),
    ],
)
def test_a_failure_is_no_answer_and_counted_by_kind(act: Act, kind: str, requests: int) -> None:
    with judge_server([act]) as server:
        judge = make_judge(server.base_url, timeout=0.2 if act.delay else 5.0)
        assert judge.ask_all([ask("?")]) == [None]
    counts = nonzero(judge.take_counts())
    assert {name: n for name, n in counts.items() if "fail" in name} == {f"failed_{kind}": 1}
    assert (counts["questions"], counts["requests"]) == (1, requests)
    assert nonzero(judge.take_counts()) == {}


def test_the_servers_wish_to_wait_is_respected() -> None:
    with judge_server([Act(status=429, headers={"Retry-After": "0.3"}), Act("yes")]) as server:
        assert make_judge(server.base_url).ask_all([ask("?")]) == [True]
    assert server.times[1] - server.times[0] >= 0.3


def test_a_drip_of_bytes_is_too_slow_as_well() -> None:
    # No single wait is long; the whole request is.
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(400):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return
                time.sleep(0.05)

    thread = threading.Thread(target=drip)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    judge = make_judge(url, timeout=0.3, attempts=1)
    started = time.monotonic()
    assert judge.ask_all([ask("?")]) == [None]
    assert time.monotonic() - started < 10
    assert judge.take_counts()["failed_timeout"] == 1
    thread.join()
    listener.close()


def unused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def test_a_judge_that_is_down_is_given_up_for_the_batch_and_tried_in_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Were they all asked, or the delays of 1, 2, 4 … s waited for, this would take minutes.
    judge = make_judge(unused_url(), give_up_after=5, attempts=9, first_wait=1.0)
    with caplog.at_level(logging.WARNING):
        started = time.monotonic()
        assert judge.ask_all([ask(str(n)) for n in range(500)]) == [None] * 500
        assert time.monotonic() - started < 30
    counts = judge.take_counts()
    assert 5 <= counts["requests"] <= 5 + 3  # those under way may end
    assert counts["failed_unreachable"] == 4
    assert counts["failed_not_asked"] == 496
    (message,) = caplog.messages
    assert "500 of 500 questions have no answer (4 unreachable, 496 not_asked)" in message
    assert "ConnectError" in message
    assert judge.ask_all([ask(f"again {n}") for n in range(5)]) == [None] * 5
    assert judge.take_counts()["requests"] >= 5


def test_it_is_given_up_after_exactly_so_many_silences() -> None:
    judge = make_judge(unused_url(), give_up_after=5, attempts=1, concurrency=1)
    assert judge.ask_all([ask(str(n)) for n in range(9)]) == [None] * 9
    counts = judge.take_counts()
    assert counts["requests"] == counts["failed_unreachable"] == 5


def test_who_waits_for_another_attempt_is_told_that_there_is_none() -> None:
    judge = make_judge(unused_url(), give_up_after=4, first_wait=8.0)
    started = time.monotonic()
    judge.ask_all([ask(str(n)) for n in range(4)])
    assert time.monotonic() - started < 5
    assert judge.take_counts()["requests"] == 4


def test_a_hanging_judge_is_given_up_too() -> None:
    with judge_server([Act(delay=1.0)]) as server:
        judge = make_judge(server.base_url, timeout=0.1, give_up_after=4, attempts=1)
        assert judge.ask_all([ask(str(n)) for n in range(40)]) == [None] * 40
    assert judge.take_counts()["failed_timeout"] <= 8


def test_any_response_is_a_sign_of_life() -> None:
    # Two silences, an error, two silences, ...: never three in a row.
    def play(body: dict[str, Any], index: int) -> Act:
        return Act(status=400) if index % 3 == 2 else Act(cut=True)

    with judge_server(play) as server:
        judge = make_judge(server.base_url, give_up_after=3, attempts=1, concurrency=1)
        judge.ask_all([ask(str(n)) for n in range(9)])
    assert len(server.bodies) == 9


def test_nonsense_is_asked_again_with_another_seed() -> None:
    with judge_server([Act("perhaps"), Act("maybe"), Act("yes")]) as server:
        judge = make_judge(server.base_url, attempts_unparsable=3, seed=7)
        assert judge.ask_all([ask("?")]) == [True]
    assert [body["seed"] for body in server.bodies] == [7, 8, 9]
    assert judge.take_counts()["answered"] == 1


def test_no_seed_is_sent_where_there_is_none() -> None:
    with judge_server([Act("perhaps"), Act("yes")]) as server:
        assert make_judge(server.base_url, seed=None).ask_all([ask("?")]) == [True]
    assert not any("seed" in body for body in server.bodies)


def test_an_answer_is_paid_for_once(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite"
    red, also_red = (Image.new("RGB", (2, 2), "red") for _ in range(2))
    with judge_server([Act("yes")]) as server:
        first = make_judge(server.base_url, path)
        assert first.ask_all([ask("?", red), ask("?", also_red)]) == [True, True]
        assert nonzero(first.take_counts())["cached"] == 1  # twice the same in a batch
        assert len(server.bodies) == 1
    # Another process, or a later run: even with the server gone, elsewhere, or asked by others.
    second = make_judge(unused_url(), path)
    assert second.ask_all([ask("?", also_red)]) == [True]
    assert nonzero(second.take_counts()) == {"questions": 1, "cached": 1}


def test_whatever_changes_the_request_is_another_question(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite"
    red, blue = (Image.new("RGB", (2, 2), colour) for colour in ("red", "blue"))
    with judge_server([Act("yes")]) as server:

        def requests(question: Question[bool], **changes: Any) -> float:
            judge = make_judge(server.base_url, path, **changes)
            judge.ask_all([question])
            return judge.take_counts()["requests"]

        assert requests(ask("?", red)) == 1
        assert requests(ask("?", red), concurrency=2, timeout=9.0, attempts=1) == 0
        assert requests(ask("!", red)) == 1
        assert requests(ask("?", blue)) == 1
        assert requests(ask("?", red, blue)) == 1
        assert requests(ask("?", blue, red)) == 1
        assert requests(ask("?")) == 1
        assert requests(ask("?", red), seed=1) == 1
        assert requests(ask("?", red), model="other") == 1
        assert requests(ask("?", red), request={"temperature": 1.0, "max_tokens": 64}) == 1
        assert requests(ask("?", red), request={"temperature": 0.0, "max_tokens": 65}) == 1


def test_nonsense_and_failures_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite"
    for act in (Act("perhaps"), Act(status=400), Act(cut=True)):
        with judge_server([act]) as server:
            assert make_judge(server.base_url, path).ask_all([ask("?")]) == [None]
    with judge_server([Act("no")]) as server:
        assert make_judge(server.base_url, path).ask_all([ask("?")]) == [False]
    assert len(server.bodies) == 1


def test_a_kept_text_that_can_no_longer_be_read_is_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite"
    with judge_server([Act("yes"), Act('["yes"]')]) as server:
        judge = make_judge(server.base_url, path)
        judge.ask_all([ask("?")])
        for _ in range(2):
            (answer,) = judge.ask_all([Question("?", TEXTS)])
            assert answer == ("yes",)
    assert len(server.bodies) == 2


def test_a_file_that_breaks_costs_no_answer(tmp_path: Path) -> None:
    with judge_server([Act("yes")]) as server:
        judge = make_judge(server.base_url, tmp_path / "judge.sqlite")
        for path in tmp_path.iterdir():
            path.write_bytes(b"broken" * 1000)
        assert judge.ask_all([ask("?")]) == [True]


def test_inside_a_running_loop_and_in_threads(tmp_path: Path) -> None:
    with judge_server([Act("yes")]) as server:
        judge = make_judge(server.base_url, tmp_path / "judge.sqlite")

        async def notebook() -> list[bool | None]:
            return judge.ask_all([ask("in a loop")])

        assert asyncio.run(notebook()) == [True]
        assert asyncio.run(notebook()) == [True]
        counts = judge.take_counts()
        assert (counts["answered"], counts["cached"]) == (1, 1)
        threads = [
            threading.Thread(target=lambda n=n: judge.ask_all([ask(str(n))])) for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert judge.take_counts()["answered"] == 8


def test_usage_that_is_missing_or_strange_is_said_to_be_unknown() -> None:
    strange = [None, {}, {"prompt_tokens": "7", "completion_tokens": True}, [3]]
    with judge_server([Act(usage=usage) for usage in strange]) as server:
        judge = make_judge(server.base_url, concurrency=1)
        assert judge.ask_all([ask(str(n)) for n in range(4)]) == [True] * 4
    counts = judge.take_counts()
    assert (counts["unmetered"], counts["cost"]) == (4, 0)


def test_half_a_surrogate_pair_goes_there_and_back(tmp_path: Path) -> None:
    with judge_server([Act("yes \udc80")]) as server:
        judge = make_judge(server.base_url, tmp_path / "judge.sqlite")
        for _ in range(2):
            assert judge.ask_all([ask("\ud800?")]) == [True]
    assert text_of(server.bodies[0]) == "\ud800?"
    assert len(server.bodies) == 1


def test_a_cut_off_answer_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with judge_server([Act('["yes", "no', finish="length")]) as server:
        judge = make_judge(server.base_url)
        with caplog.at_level(logging.WARNING):
            assert judge.ask_all([Question("?", TEXTS)]) == [None]
    assert "limit of tokens" in caplog.text


def with_schema(body: dict[str, Any]) -> bool:
    return "response_format" in body


def test_an_answer_in_json_is_asked_for_by_its_schema() -> None:
    with judge_server([Act('{"answer": ["A cat."]}'), Act("yes")]) as server:
        judge = make_judge(server.base_url)
        (answer,) = judge.ask_all([Question("?", TEXTS)])
        assert answer == ("A cat.",)
        judge.ask_all([ask("?")])
        make_judge(server.base_url, schemas=False).ask_all([Question("?", TEXTS)])
    first, *others = server.bodies
    assert first["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": TEXTS.schema},
    }
    assert not any(map(with_schema, others))


@pytest.mark.parametrize("status", [400, 422, 501, 500])
def test_a_server_that_refuses_schemas_is_asked_plainly_from_then_on_and_that_is_said_once(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    def play(body: dict[str, Any], index: int) -> Act:
        refusal = b'{"error": "response_format is not supported"}'
        return Act(status=status, raw=refusal) if with_schema(body) else Act('["A cat."]')

    with judge_server(play) as server, caplog.at_level(logging.WARNING):
        judge = make_judge(server.base_url, attempts=1)
        for batch in (["a", "b", "c"], ["d", "e"]):
            assert None not in judge.ask_all([Question(text, TEXTS) for text in batch])
    assert not any(map(with_schema, server.bodies[-2:]))
    (message,) = caplog.messages
    assert "refuses JSON schemas" in message
    assert "response_format is not supported" in message


def test_a_request_that_is_refused_without_a_schema_too_says_nothing_of_schemas(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with judge_server([Act(status=400, raw=b"too long")]) as server:
        judge = make_judge(server.base_url)
        assert judge.ask_all([Question("?", TEXTS)]) == [None]
        judge.ask_all([Question("!", TEXTS)])
    assert [with_schema(body) for body in server.bodies] == [True, False, True, False]
    assert "schemas" not in caplog.text
    assert "HTTP 400: too long" in caplog.text


def test_nonsense_by_a_schema_is_asked_again_without_it(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite"
    with judge_server([Act('{"answer": ["A', finish="length"), Act('["A cat."]')]) as server:
        judge = make_judge(server.base_url, path)
        assert None not in judge.ask_all([Question("?", TEXTS)])
        # With a schema or without, it is the same question.
        make_judge(server.base_url, path, schemas=False).ask_all([Question("?", TEXTS)])
    assert [with_schema(body) for body in server.bodies] == [True, False]


def test_the_environment_s_account_is_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "mine")
    with judge_server([Act("yes")]) as server:
        assert make_judge(server.base_url).ask_all([ask("?")]) == [True]
    assert "mine" not in str(server.headers)


WORDS = [Act("yes"), Act("no"), Act("perhaps"), Act(content=None)]
ACTS = st.sampled_from([*WORDS, Act(status=500), Act(status=400), Act(cut=True), Act(raw=b"null")])


@at_most(25)
@given(st.lists(ACTS, min_size=1, max_size=6), st.lists(st.sampled_from("abc"), max_size=8))
def test_every_question_is_counted_once_whatever_happens(acts: list[Act], texts: list[str]) -> None:
    with judge_server(acts) as server:
        judge = make_judge(server.base_url, give_up_after=2)
        answers = judge.ask_all([ask(text) for text in texts])
    counts = judge.take_counts()
    failed = sum(count for name, count in counts.items() if name.startswith("failed_"))
    assert counts["questions"] == len(texts) == counts["answered"] + counts["cached"] + failed
    assert failed == answers.count(None)
    assert counts["requests"] == len(server.bodies)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base_url": "localhost:8000/v1"}, r"judge\.endpoint\.base_url: need an address"),
        ({"base_url": ""}, r"judge\.endpoint\.base_url: need an address"),
        ({"model": None}, r"judge\.endpoint\.model: need the name"),
        ({"request": {"seed": 3}}, r"judge\.endpoint\.request\.seed"),
        ({"request": {"response_format": {}}}, r"judge\.endpoint\.request\.response_format"),
        ({"request": {"messages": []}}, r"judge\.endpoint\.request\.messages"),
    ],
)
def test_bad_values_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_judge(**{"base_url": "http://127.0.0.1:1/v1", **changes})


@pytest.mark.parametrize("length", ["200000000", None])
def test_an_answer_without_end_is_left_after_a_few_megabytes(length: str | None) -> None:
    sent = []

    def pour() -> None:
        connection, _ = listener.accept()
        head = f"Content-Length: {length}" if length else "Connection: close"
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
            for _ in range(200):
                connection.sendall(b" " * 1_000_000)
                sent.append(1_000_000)

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=pour)
    thread.start()
    judge = make_judge(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", attempts=1)
    assert judge.ask_all([ask("?")]) == [None]
    thread.join()
    listener.close()
    assert judge.take_counts()["failed_malformed"] == 1
    assert sum(sent) < 40_000_000  # with what the system holds between the two


def test_a_compressed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    with judge_server([Act(raw=bomb, headers={"Content-Encoding": "gzip"})]) as server:
        judge = make_judge(server.base_url, attempts=1)
        assert judge.ask_all([ask("?")]) == [None]
    assert server.headers[0]["accept-encoding"] == "identity"
    assert judge.take_counts()["failed_malformed"] == 1
