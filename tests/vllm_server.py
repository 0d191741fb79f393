"""A stand-in for vLLM's server, over the plain engine, with the traps that the real one has.

What a prompt, or its adapters, were computed with is kept until the prefix cache is reset; after a
reload of weights a known picture without a reset of the encoder cache ends the engine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from threading import Event, Lock
from typing import Any

from peft import PeftModel

from repic.models.chat import ChatModel, ChatRequest, Talks, chat_server, refusal
from repic.models.engine.plain import PlainEngine
from repic.models.loading import load_network
from repic.models.policy import Policy
from repic.types import Example, Rollout
from tests import tiny
from tests.judge_server import served

MAX_RANK = 16


class FakeVllm(ChatModel):
    """Serves a checkpoint, and loads others on request.

    Attributes:
        requests: paths and bodies that came.
        ignored: paths that say that all is well and do nothing.
        refused: paths that fail.
        may_draw: captions wait for it; the prefix cache is not reset meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        policy, sampling = tiny.load(folder, prompt=Talks()), tiny.sampling()
        talks: Any = policy.encoder.prompt
        given: Any = {"engine": PlainEngine(), "sampling": sampling, "name": "policy"}
        super().__init__(policy, talks, pictures=8, **given)
        self.requests: list[tuple[str, Any]] = []
        self.ignored: set[str] = set()
        self.refused: set[str] = set()
        self.adapters: dict[str, Policy] = {}
        self.by_prefix: dict[str, Policy] = {}  # what a prompt's keys and values are of
        self.is_dead = self.is_reloaded = False
        self.may_draw, self._drawing, self._counting = Event(), 0, Lock()
        self.may_draw.set()

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        self.requests.append((path, body))
        if self.is_dead or path in self.refused:
            return 500, refusal("EngineCore encountered an issue")
        if path in self.ignored:
            return 200, {"success": True} if "reset" in path else ""
        match path:
            case "/collective_rpc":
                assert body["method"] == "reload_weights"
                place, dtype = Path(body["kwargs"]["weights_path"]), self.policy.network.dtype
                self.policy = self._of(load_network(place, dtype=dtype, attention="sdpa"))
                self.is_reloaded = True
                self.adapters.clear()  # vLLM forgets them as well
            case "/v1/load_lora_adapter":
                folder = body["lora_path"]
                adapted = self._of(deepcopy(self.policy.model))
                adapted.model = PeftModel.from_pretrained(adapted.model, folder).eval()
                config: Any = adapted.model.peft_config["default"]
                if config.r > MAX_RANK:
                    return 400, refusal(f"LoRA rank is greater than max_lora_rank {MAX_RANK}.")
                known = body["lora_name"] in self.adapters
                if known and not body.get("load_inplace"):
                    return 400, refusal("The lora adapter has already been loaded.")
                self.adapters[body["lora_name"]] = adapted
                return 200, "Success: LoRA adapter added successfully."
            case "/reset_prefix_cache" if self._drawing:
                return 200, {"success": False}
            case "/reset_prefix_cache":
                self.by_prefix.clear()
                return 200, {"success": True}
            case "/reset_encoder_cache":
                self.is_reloaded = False
            case _:
                self._count(1)
                try:
                    self.may_draw.wait(10)
                    return super().answer(path, body)
                finally:
                    self._count(-1)
        return 200, ""

    def _count(self, change: int) -> None:
        with self._counting:
            self._drawing += change

    def complete(self, request: ChatRequest) -> dict[str, Any]:
        base, self.name = self.name, request.model or ""
        try:
            if self.name not in (base, *self.adapters):
                raise ValueError(f"The model `{self.name}` does not exist.")
            if request.n > 1 and request.temperature == 0:
                raise ValueError("n must be 1 when using greedy sampling")
            return super().complete(request)
        finally:
            self.name = base

    def draw(self, example: Example, request: ChatRequest) -> list[Rollout]:
        if self.is_reloaded and any(
            item["type"] == "image"
            for turn in self.talks.messages(example)
            for item in turn["content"]
        ):
            self.is_dead = True
            raise RuntimeError("Encoder cache miss")
        now = self.adapters.get(self.name, self.policy)
        key = f"{self.name}/{example.id}"
        base, self.policy = self.policy, self.by_prefix.setdefault(key, now)
        try:
            return super().draw(example, request)
        finally:
            self.policy = base

    def _of(self, network: Any) -> Policy:
        now = self.policy
        settings: Any = {"source": now.source, "stop_ids": now.stop_ids, "export": now.export}
        return Policy(network, now.encoder, **settings).eval()


@contextmanager
def vllm_server(folder: Path) -> Iterator[tuple[str, FakeVllm]]:
    """Serve until the block ends; the address, and what is there."""
    fake = FakeVllm(folder)
    with served(chat_server(fake, "127.0.0.1", 0)) as url:
        yield url, fake
