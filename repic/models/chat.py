"""A policy behind OpenAI's chat completions, for machines without vLLM.

``POST /v1/chat/completions`` with pictures as data URLs, and the fields of vLLM's that say more:
``top_k``, ``min_p``, ``return_token_ids``. One request is computed at a time.
"""

import base64
import binascii
import hashlib
import io
import json
import logging
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from PIL import Image
from pydantic import BaseModel, ValidationError

from repic.errors import explain
from repic.models.engine.base import Engine
from repic.models.engine.sampling import Sampling
from repic.models.policy import Policy
from repic.pixels import as_seen
from repic.types import Example, Rollout

log = logging.getLogger(__name__)

_MOST_BYTES = 1 << 26  # of a request: a dozen photos
_FORMATS = ("PNG", "JPEG", "WEBP")


class PictureUrl(BaseModel):
    """A picture as ``data:image/png;base64,...``; nothing is fetched."""

    url: str


class Item(BaseModel):
    """A text or a picture of a message."""

    type: Literal["text", "image_url"]
    text: str = ""
    image_url: PictureUrl | None = None


class Turn(BaseModel):
    """A message."""

    role: Literal["system", "user", "assistant"]
    content: str | list[Item]


class ChatRequest(BaseModel):
    """What is asked; other fields are passed over."""

    messages: list[Turn]
    model: str | None = None
    n: Annotated[int, Ge(1), Le(64)] = 1
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int = 0
    stream: Literal[False] = False
    return_token_ids: bool = False


@dataclass(frozen=True)
class SentPicture:
    """A picture that came with a request; see ``repic.types.ImageSource``."""

    data: bytes

    @cached_property
    def content(self) -> str:
        """A hash of the file."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def key(self) -> str:
        return self.content

    def __repr__(self) -> str:
        return self.content

    def load(self) -> Image.Image:
        try:
            with Image.open(io.BytesIO(self.data), formats=_FORMATS) as image:
                return as_seen(image, largest=None)
        except Exception as error:  # a decoder that a broken file leads astray may raise anything
            raise ValueError(f"a picture cannot be read ({error}); send PNG or JPEG") from None


class Talks:
    """The words of an example are those of the request that it stands for."""

    def __init__(self) -> None:
        self.held: dict[str, list[dict[str, Any]]] = {}

    def messages(self, example: Example) -> list[dict[str, Any]]:
        return self.held[example.id]


class ChatModel:
    """Answers chat completions.

    Args:
        policy: whose prompt are ``talks``.
        talks: what it is asked.
        engine: draws captions.
        sampling: of what a request leaves open.
        name: under which the model is offered.
        pictures: that a request may show, at most.
    """

    def __init__(
        self,
        policy: Policy,
        talks: Talks,
        *,
        engine: Engine,
        sampling: Sampling,
        name: str,
        pictures: int,
    ) -> None:
        self.policy, self.talks, self.engine = policy, talks, engine
        self.sampling, self.name, self.pictures = sampling, name, pictures
        self._lock = Lock()

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        """Return status and content of what is answered on a path; ``body`` is None for a GET."""
        if path == "/health" and body is None:
            return 200, {}
        if path == "/v1/models" and body is None:
            return 200, {"object": "list", "data": [{"id": self.name, "object": "model"}]}
        if path != "/v1/chat/completions" or body is None:
            return 404, {"detail": "Not Found"}
        try:
            with self._lock:
                return 200, self.complete(ChatRequest.model_validate(body))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            return 400, refusal(f"{place}: {first['msg']}")
        except ValueError as error:
            return 400, refusal(explain(error))

    def complete(self, request: ChatRequest) -> dict[str, Any]:
        """Draw what is asked for.

        Raises:
            ValueError: a picture cannot be read, or the prompt is too long.
        """
        if request.model not in (None, self.name):
            raise ValueError(f"the model {request.model!r} does not exist; it is {self.name!r}")
        messages = [_read_turn(turn) for turn in request.messages]
        items = [item for turn in messages for item in turn["content"]]
        if (shown := sum(item["type"] == "image" for item in items)) > self.pictures:
            raise ValueError(f"shows {shown} pictures, and may show {self.pictures}")
        # What is drawn follows from the seed and the words and pictures alone.
        key = [
            [turn["role"], [str(list(item.values())) for item in turn["content"]]]
            for turn in messages
        ]
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        example = Example(name, "caption")
        self.talks.held = {name: messages}
        rollouts = self.draw(example, request)
        (prompt,) = self.policy.encoder.prompts([example])
        length, drawn = len(prompt.input_ids), sum(len(r.completion_ids) for r in rollouts)
        usage = {
            "prompt_tokens": length,
            "completion_tokens": drawn,
            "total_tokens": length + drawn,
        }
        answer = {
            "object": "chat.completion",
            "model": self.name,
            "choices": [
                self._choice(i, rollout, with_ids=request.return_token_ids)
                for i, rollout in enumerate(rollouts)
            ],
            "usage": usage,
        }
        if request.return_token_ids:
            answer["prompt_token_ids"] = prompt.input_ids.tolist()
        return answer

    def draw(self, example: Example, request: ChatRequest) -> list[Rollout]:
        """Draw a group of captions as a request says."""
        stop = [request.stop] if isinstance(request.stop, str) else request.stop
        asked = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": None if request.top_k is None else max(request.top_k, 0),
            "min_p": request.min_p,
            "max_new_tokens": request.max_completion_tokens or request.max_tokens,
            "stop": stop,
        }
        given = {key: value for key, value in asked.items() if value is not None}
        return self.engine.sample(
            self.policy,
            [example],
            group_size=request.n,
            sampling=Sampling(**vars(self.sampling) | given),
            seed=request.seed,
        )

    def _choice(self, index: int, rollout: Rollout, *, with_ids: bool) -> dict[str, Any]:
        ids = rollout.completion_ids.tolist()
        tokens = self.policy.encoder.tokenizer.convert_ids_to_tokens(ids)
        listed = zip(tokens, rollout.logprobs.tolist(), strict=True)
        choice: dict[str, Any] = {
            "index": index,
            "message": {"role": "assistant", "content": rollout.text},
            "finish_reason": "stop" if rollout.finished else "length",
            "logprobs": {"content": [{"token": t, "logprob": value} for t, value in listed]},
        }
        return choice | ({"token_ids": ids} if with_ids else {})


def chat_server(chat: ChatModel, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server that answers once ``serve_forever`` is called.

    Raises:
        OSError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._tell(*chat.answer(self.path, None))

        def do_POST(self) -> None:
            self._tell(*self._answer())

        def _answer(self) -> tuple[int, Any]:
            length = self.headers.get("Content-Length", "")
            # A web page of somebody else's can send anything but this type.
            is_json = self.headers.get_content_type() == "application/json"
            if not is_json or not length.isdecimal() or int(length) > _MOST_BYTES:
                self.close_connection = True
                return 400, refusal(f"send application/json of at most {_MOST_BYTES} bytes")
            try:
                body = json.loads(self.rfile.read(int(length)))
            except ValueError as error:
                return 400, refusal(f"this is no JSON ({error})")
            try:
                return chat.answer(self.path, {} if body is None else body)
            except Exception as error:
                log.exception("a request failed")
                return 500, refusal(explain(error))

        def _tell(self, status: int, content: Any) -> None:
            data = json.dumps(content).encode("ascii")
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            log.debug(format, *arguments)

    class Door(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    return Door((host, port), Handler)


def refusal(message: str) -> dict[str, Any]:
    """What goes with a status that is no success."""
    return {"error": {"message": message, "type": "invalid_request_error"}}


def _read_turn(turn: Turn) -> dict[str, Any]:
    items = turn.content
    if isinstance(items, str):
        items = [Item(type="text", text=items)]
    return {"role": turn.role, "content": [_read_item(item) for item in items]}


def _read_item(item: Item) -> dict[str, Any]:
    if item.type == "text":
        return {"type": "text", "text": item.text}
    head, _, data = (item.image_url.url if item.image_url else "").partition(",")
    if not (head.startswith("data:image/") and head.endswith(";base64")):
        raise ValueError("image_url.url: send pictures as data:image/png;base64,...")
    try:
        picture = SentPicture(base64.b64decode(data, validate=True))
    except binascii.Error as error:
        raise ValueError(f"image_url.url: this is no base64 ({error})") from None
    picture.load()
    return {"type": "image", "image": picture}
