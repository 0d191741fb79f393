"""The key is sent, and stands nowhere else."""

import copy
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from repic.judges.answers import parse_verdict
from repic.judges.client import Question
from tests.judge_server import Act, judge_server, make_judge

KEY = "sk-proj-Zq7_secret-of-the-user"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPIC_JUDGE_KEY", f" {KEY}\n")  # as a file's content often is


def everything_in(thing: Any, seen: set[int] | None = None) -> Iterator[str]:
    """What a pickle or a log could show of an object: every value that hangs on it."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    yield repr(thing)
    inner = thing if isinstance(thing, dict) else getattr(thing, "__dict__", {})
    for value in inner.values():
        yield from everything_in(value, seen)


def test_it_is_sent_and_found_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    echo = f'{{"error": "Incorrect key: Bearer {KEY}"}}'.encode()
    # Some servers repeat what they were sent, in headers, bodies and reasons.
    acts = [Act("yes"), Act("perhaps"), Act("maybe"), Act(status=401, raw=echo), Act(raw=echo)]
    acts += [Act(status=500, raw=echo, headers={"X-Echo": KEY}), Act(cut=True, raw=echo)]
    with caplog.at_level(logging.DEBUG), judge_server(acts) as server:
        judge = make_judge(
            server.base_url,
            tmp_path / "judge.sqlite",
            key_variable="REPIC_JUDGE_KEY",
            concurrency=1,
            attempts=1,
        )
        for n in range(7):
            judge.ask_all([Question(str(n), parse_verdict)])
        counts = judge.take_counts()
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert counts["questions"] == counts["answered"] + 6
    assert "HTTP 401" in caplog.text
    assert "Bearer ***" in caplog.text
    output = capfd.readouterr()
    written = [path.read_bytes() for path in tmp_path.iterdir()]
    assert written
    shown = [caplog.text, output.out, output.err, str(counts), *everything_in(judge)]
    assert not any(KEY in text for text in shown)
    assert not any(KEY.encode() in content for content in written)


def test_the_search_can_find_it(tmp_path: Path) -> None:
    judge = make_judge("http://127.0.0.1:1/v1")
    spoilt = copy.copy(judge)
    spoilt.endpoint = copy.copy(judge.endpoint)
    spoilt.endpoint.request = {"header": {"deep": KEY}}
    assert not any(KEY in text for text in everything_in(judge))
    assert any(KEY in text for text in everything_in(spoilt))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key_variable": KEY}, "NAME of an environment variable"),
        ({"key_variable": "NOT_SET"}, "NOT_SET is not set"),
        ({"key_variable": "BROKEN"}, "BROKEN holds no printable ASCII"),
        ({"base_url": f"http://me:{KEY}@127.0.0.1/v1"}, "holds a user, password or query"),
        ({"base_url": f"me:{KEY}@127.0.0.1/v1"}, "need an address"),
        ({"base_url": f"https://127.0.0.1/v1?key={KEY}"}, "holds a user, password or query"),
    ],
)
def test_no_message_repeats_it(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv("BROKEN", f"{KEY}\nX-Other: 1")
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ValueError, match=said) as caught:
        make_judge(**{"base_url": "http://127.0.0.1:1/v1", **changes})
    assert KEY not in "".join(traceback.format_exception_only(caught.value))
