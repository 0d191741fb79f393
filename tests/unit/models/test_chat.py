"""Captions over HTTP are those of the engine behind it, and what cannot be is said."""

import base64
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image

from repic.models.chat import ChatModel, SentPicture, Talks, chat_server
from repic.models.engine.packed import PackedEngine
from repic.types import Example
from tests import tiny
from tests.fakes import Noise, example
from tests.judge_server import served

EXAMPLE = example("e", [Noise(1)], Noise(2, 56, 28))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    policy = tiny.load(folder(tmp_path_factory), prompt=Talks())
    talks: Any = policy.encoder.prompt
    given: Any = {"engine": tiny.packed_engine(), "sampling": tiny.sampling(temperature=0.0)}
    chat = ChatModel(policy, talks, name="toy", pictures=3, **given)
    with served(chat_server(chat, "127.0.0.1", 0)) as address:
        yield address


def folder(factory: pytest.TempPathFactory) -> Path:
    return tiny.build_qwen(factory.mktemp("served"))


def ask(url: str, body: Any, *, kind: str = "application/json") -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/v1/chat/completions", data, {"Content-Type": kind})
        ) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]["message"]


def picture(source: Noise) -> dict[str, Any]:
    buffer = io.BytesIO()
    source.load().save(buffer, "png")
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def messages(shown: Example = EXAMPLE) -> list[dict[str, Any]]:
    (turn,) = tiny.Prompt().messages(shown)
    content = [picture(i["image"]) if i["type"] == "image" else i for i in turn["content"]]
    return [{"role": "user", "content": content}]


def test_a_picture_that_is_sent_is_seen_as_one_in_a_file() -> None:
    def sent(picture: Image.Image, kind: str, **more: Any) -> Image.Image:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **more)
        return SentPicture(buffer.getvalue()).load()

    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # a telephone's that was held upright
    assert sent(Image.new("RGB", (40, 20), "red"), "JPEG", exif=exif).size == (20, 40)
    assert sent(Image.new("RGBA", (1, 1), (255, 0, 0, 0)), "PNG").getpixel((0, 0)) == (255,) * 3
    assert sent(Image.new("I;16", (1, 1), 2**15), "PNG").getpixel((0, 0)) == (128,) * 3


def test_a_caption_is_the_engine_s(url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    policy, engine = tiny.load(folder(tmp_path_factory)), tiny.packed_engine()
    status, answer = ask(url, {"messages": messages(), "return_token_ids": True, "n": 2})
    assert status == 200
    expected = draw(engine, policy, 2)
    assert answer["prompt_token_ids"] == policy.encoder.prompts([EXAMPLE])[0].input_ids.tolist()
    for choice, ours in zip(answer["choices"], expected, strict=True):
        assert choice["message"] == {"role": "assistant", "content": ours.text}
        assert choice["token_ids"] == ours.completion_ids.tolist()
        found = [token["logprob"] for token in choice["logprobs"]["content"]]
        assert found == pytest.approx(ours.logprobs.tolist(), abs=1e-5)
        assert choice["finish_reason"] == ("stop" if ours.finished else "length")
    assert answer["usage"]["completion_tokens"] == sum(len(r.completion_ids) for r in expected)


def draw(engine: PackedEngine, policy: Any, size: int) -> list[Any]:
    greedy = tiny.sampling(temperature=0.0)
    return engine.sample(policy, [EXAMPLE], group_size=size, sampling=greedy, seed=0)


def test_a_seed_says_what_is_drawn(url: str) -> None:
    def texts(seed: int) -> list[str]:
        body = {"messages": messages(), "temperature": 1.0, "n": 4, "seed": seed, "max_tokens": 5}
        return [choice["message"]["content"] for choice in ask(url, body)[1]["choices"]]

    assert texts(1) == texts(1) != texts(2)
    assert len(set(texts(1))) > 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"messages": [{"role": "user", "content": "x " * 3000}]}, "takes 2048"),
        ({"messages": [{"role": "owner", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [picture(Noise(i)) for i in range(4)]}]}, "may"),
        ({"model": "other"}, "it is 'toy'"),
        ({"max_tokens": 0}, "sampling.max_new_tokens: 0"),
        ({"temperature": -1.0}, "sampling.temperature"),
        ({"n": 1000}, "n: "),
        ({"stream": True}, "stream"),
    ],
)
def test_what_cannot_be_is_said(url: str, change: dict[str, Any], told: str) -> None:
    status, message = ask(url, {"messages": messages(), **change})
    assert status == 400
    assert told in message


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://127.0.0.1/secret.png", "send pictures as data:image/png;base64"),
        ("file:///etc/passwd", "send pictures as data:image/png;base64"),
        ("data:image/png;base64,AAA", "no base64"),
        ("data:image/png;base64,AAAA", "cannot be read"),
    ],
)
def test_nothing_is_fetched_and_no_picture_is_made_up(url: str, address: str, told: str) -> None:
    content = [{"type": "image_url", "image_url": {"url": address}}]
    status, message = ask(url, {"messages": [{"role": "user", "content": content}]})
    assert status == 400
    assert told in message


def test_a_web_page_of_somebody_else_s_is_not_answered(url: str) -> None:
    assert ask(url, {"messages": messages()}, kind="text/plain")[0] == 400
    assert ask(url, b"{")[0] == 400
    assert ask(url, {"messages": messages()})[0] == 200
