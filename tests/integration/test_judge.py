"""A judge by configuration, against a real server: transformers' own, with our tiny model."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import httpx2
import pytest
from hydra.utils import instantiate
from PIL import Image

from repic.judges import questions
from repic.judges.answers import TEXTS
from repic.judges.client import Judge, Question
from tests.integration.small import compose_run

ROOT = Path(__file__).parents[2]
MODEL = str(files("repic") / "models" / "tiny")


def configured(*overrides: str, outputs: Path) -> Judge:
    cfg, _ = compose_run(f"outputs={outputs}", *overrides)
    return instantiate(cfg.judge, _convert_="all")


def test_there_is_no_judge_unless_one_is_chosen() -> None:
    assert compose_run()[0].judge is None


def test_every_key_of_a_judge_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    judge = configured("judge=openai", "judge.concurrency=3", outputs=tmp_path)
    assert judge.endpoint.base_url == "https://api.openai.com/v1"
    assert (tmp_path / "cache" / "judge.sqlite").exists()
    local = configured("judge=local", "judge.endpoint.model=mine", outputs=tmp_path)
    assert local.endpoint.request == {"temperature": 0.0, "max_tokens": 1024}
    assert (local.endpoint.key_variable, local.prices.cost(10**6, 10**6)) == (None, 0.0)


def test_a_key_that_is_not_set_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(Exception, match="environment variable OPENAI_API_KEY is not set"):
        configured("judge=openai", outputs=tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    for library in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(library, reason=f"the server needs {library}: pip install '.[serve]'")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "tests.integration.serve_model", MODEL, str(port)]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the model is loaded."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx2.get(url, trust_env=False).is_success:
                return
        except httpx2.HTTPError:
            time.sleep(0.2)
    pytest.fail(f"the server did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture
def judge(server: str, tmp_path: Path) -> Judge:
    """As the command line makes it; the model is too small to obey, so its limit is low."""
    endpoint = [f"judge.endpoint.base_url={server}", f"judge.endpoint.model={MODEL}"]
    short = ["judge.endpoint.request.max_tokens=24", "judge.concurrency=2"]
    priced = ["judge.prices.prompt=1.0", "judge.prices.completion=2.0"]
    return configured("judge=local", *endpoint, *short, *priced, outputs=tmp_path)


def words(text: str) -> str | None:
    return text or None


@pytest.mark.slow
def test_the_model_sees_the_picture_and_its_tokens_are_counted(judge: Judge) -> None:
    red, blue = (Image.new("RGB", (96, 96), colour) for colour in ("red", "blue"))
    text = "What is in the picture?"
    asked = [Question(text, words, (red,)), Question(text, words, (blue,)), Question(text, words)]
    answers = judge.ask_all(asked)
    assert all(answer is not None for answer in answers)
    assert len(set(answers)) > 1  # it looks
    with_pictures = judge.take_counts()
    assert (with_pictures["answered"], with_pictures["requests"]) == (3, 3)
    assert with_pictures["unmetered"] == 0
    assert with_pictures["completion_tokens"] <= 3 * 24
    in_dollars = with_pictures["prompt_tokens"] + 2 * with_pictures["completion_tokens"]
    assert with_pictures["cost"] == pytest.approx(in_dollars / 1e6)
    # The same again costs nothing, and says the same.
    assert judge.ask_all(asked) == answers
    again = judge.take_counts()
    assert (again["cached"], again["requests"], again["cost"]) == (3, 0, 0)


@pytest.mark.slow
def test_a_picture_costs_the_tokens_that_it_is(judge: Judge) -> None:
    # 96 × 96 pixels are 6 × 6 patches, 2 × 2 of them a token, between two marks: 9 + 2 tokens.
    costs = []
    for pictures in ((), (Image.new("RGB", (96, 96)),)):
        judge.ask_all([Question("Who is it?", words, pictures)])
        costs.append(judge.take_counts()["prompt_tokens"])
    assert costs[1] - costs[0] == 11


@pytest.mark.slow
def test_nonsense_is_none_counted_and_asked_again(judge: Judge) -> None:
    picture = Image.new("RGB", (96, 96), "red")
    for _ in range(2):  # it is not kept
        assert questions.extract_claims(judge, ["A red bear sits.", ""]) == [None, ()]
        assert questions.verify_claims(judge, [picture], [["A bear."] * 3]) == [None]
        counts = judge.take_counts()
        assert counts["failed_unparsable"] == 2
        assert counts["requests"] == 4  # each twice, with two seeds
    assert judge.ask_all([Question("Name them.", TEXTS)]) == [None]


@pytest.mark.slow
def test_what_the_server_refuses_is_counted_by_its_status(server: str, tmp_path: Path) -> None:
    endpoint = [f"judge.endpoint.base_url={server}", "judge.endpoint.model=another"]
    judge = configured("judge=local", *endpoint, outputs=tmp_path)
    assert judge.ask_all([Question("?", words)]) == [None]
    counts = judge.take_counts()
    assert (counts["failed_http_400"], counts["requests"]) == (1, 1)
