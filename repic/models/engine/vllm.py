"""The engine whose captions a vLLM server draws; what is scored and learnt from is still packed.

The server is an environment, and maybe a machine, of its own (``python -m repic.serve``), spoken
to by HTTP. It gets the policy's weights, or its adapters alone, through a folder whenever they have
changed, and then forgets what it keeps of the old ones: keys and values of prompts, and features of
pictures. A short caption that is drawn before and after, and scored here, shows whether it did.
"""

import http.client
import json
import urllib.error
import urllib.request
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from urllib.parse import urlsplit

import torch
from annotated_types import Ge, Le
from torch import Tensor

from repic import distributed
from repic.judges.pictures import PictureEncoder
from repic.models.engine.decoding import Drawn, as_rollouts
from repic.models.engine.meter import Meter
from repic.models.engine.packed import PackedEngine
from repic.models.engine.sampling import NotFiniteError, Sampling, check_lengths
from repic.models.export import save_adapters, save_weights
from repic.models.policy import Policy
from repic.rl.correction import Correction
from repic.types import Example, Rollout
from repic.values import LOOPBACK, AmountOrNone, Seconds, ServerAddress, Text

ADAPTER = "repic-adapter"  # the name under which a server has the adapters
# Mean difference of a probe's log-probabilities that rounding explains, by the weights' precision;
# and that of pictures which its processor has shrunk in a way of its own.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.01, torch.bfloat16: 0.05}
_PROBE = Sampling(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, max_new_tokens=16, stop=())
_AT_A_TIME = 64  # requests
_NOT_FINITE = -9000.0  # vLLM's log-probabilities end at -9999
_START = "python -m repic.serve <checkpoint> starts one; the same command then goes on"


# By whom captions are drawn, of which examples, how many, and how.
_Asked = tuple[weakref.ref[Policy], tuple[str, ...], int, Sampling]


class VllmEngine(PackedEngine):
    """Captions by a server, everything else as ``PackedEngine``.

    Captions are drawn by the server's own random numbers: a run with the same seed draws others.

    Args:
        url: of the server, http://host:port.
        folder: that this process writes and the server reads; None: a temporary one, for a server
            of this machine.
        timeout: seconds that a request may take.
        lag: 1 draws the captions of the next iteration during the update, by the policy before it.
        correction: of the loss for the difference between sampler and policy.
        feature_cache: see ``PackedEngine``.
    """

    takes_slices = False  # a server hears of whole weights, by one process

    def __init__(
        self,
        *,
        url: ServerAddress,
        folder: Text | None,
        timeout: Seconds,
        lag: Annotated[int, Ge(0), Le(1)],
        correction: Correction | None,
        feature_cache: AmountOrNone,
    ) -> None:
        super().__init__(feature_cache=feature_cache, cuda_graphs=False)
        self.server = Server(url, timeout)
        self.lag, self.correction = lag, correction
        self._folder = folder
        self._temporary: TemporaryDirectory[str] | None = None
        self._pictures = PictureEncoder(max_side=2**14, format="png")
        self._pool = ThreadPoolExecutor(_AT_A_TIME)
        self._probe: Example | None = None
        self._held: tuple[weakref.ref[Policy], tuple[int, ...]] | None = None
        self._model = ""  # the server's name of what it draws from
        self._ahead: tuple[_Asked, list[Future[Drawn]]] | None = None

    def sample(
        self,
        policy: Policy,
        examples: Sequence[Example],
        *,
        group_size: int,
        sampling: Sampling,
        seed: int,
    ) -> list[Rollout]:
        asked = _asked(policy, examples, group_size, sampling)
        with self.meter.time("decode", policy.device):
            if self._ahead is not None and self._ahead[0] == asked:
                answers, self._ahead = self._ahead[1], None
            else:  # those of a validation, say; what is drawn ahead is kept
                answers = self._ask(policy, examples, group_size, sampling)
            drawn = Drawn.joined([answer.result() for answer in answers])
        if len(wrong := (drawn.logprobs < _NOT_FINITE).nonzero()):
            first = examples[int(wrong[0, 0]) // group_size].id
            rows = wrong[:, 0].unique().tolist()
            raise NotFiniteError(rows, int(wrong[0, 1]), place=f"example {first}")
        lengths = [len(prompt.input_ids) for prompt in policy.encoder.prompts(examples)]
        saved = (group_size - 1) * sum(lengths)
        self.meter.count(prompt=sum(lengths), completion=int(drawn.lengths.sum()), saved=saved)
        return as_rollouts(drawn, examples, group_size=group_size, policy=policy, sampling=sampling)

    def begin(
        self, policy: Policy, examples: Sequence[Example], *, group_size: int, sampling: Sampling
    ) -> None:
        answers = self._ask(policy, examples, group_size, sampling)
        self._ahead = _asked(policy, examples, group_size, sampling), answers

    def _ask(
        self, policy: Policy, examples: Sequence[Example], group_size: int, sampling: Sampling
    ) -> "list[Future[Drawn]]":
        """Ask for captions by the policy as it is now."""

        def length(example: Example) -> int:
            return len(policy.encoder.prompts([example])[0].input_ids)

        longest = max(examples, key=length)
        self._sync(policy, longest)
        answers = self._send(policy, examples, group_size, sampling)
        # The server keeps whole blocks of a hundred tokens or so: of short prompts nothing.
        self._probe = max(self._probe or longest, longest, key=length)
        return answers

    def _send(
        self, policy: Policy, examples: Sequence[Example], group_size: int, sampling: Sampling
    ) -> "list[Future[Drawn]]":
        """Ask for a group of captions for each example."""
        prompts = policy.encoder.prompts(examples)
        lengths, room = [len(prompt.input_ids) for prompt in prompts], policy.encoder.max_length
        check_lengths(lengths, examples, max_length=room, sampling=sampling)
        times = 1 if sampling.temperature == 0 else group_size  # the likeliest caption is one
        request = {
            "model": self._model,
            "n": times,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "max_tokens": sampling.max_new_tokens,
            "stop": list(sampling.stop),
            "stop_token_ids": list(policy.stop_ids),
            # Or else the server obeys the model's own generation_config.json.
            "repetition_penalty": 1.0,
            "logprobs": True,
            "return_token_ids": True,
        }
        # Worded here, since the policy's encoder is not for several threads.
        talks = [policy.encoder.prompt.messages(example) for example in examples]

        def ask(talk: list[dict[str, Any]], example: Example, ids: Tensor) -> Drawn:
            answer = self.server.ask(
                "/v1/chat/completions", {**request, "messages": self._worded(talk)}
            )
            place = f"{self.server.url}: example {example.id}"
            rows = _read(answer, place, times, ids.tolist())
            return _drawn(rows * (group_size // times), sampling.max_new_tokens)

        return [
            self._pool.submit(ask, talk, example, prompt.input_ids)
            for talk, example, prompt in zip(talks, examples, prompts, strict=True)
        ]

    def _worded(self, talk: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """A conversation as chat endpoints take it, with the pictures in it."""

        def item(part: Mapping[str, Any]) -> Mapping[str, Any]:
            if part["type"] != "image":
                return part
            url = self._pictures.data_url(part["image"])
            return {"type": "image_url", "image_url": {"url": url}}

        return [{**turn, "content": [item(part) for part in turn["content"]]} for turn in talk]

    def _sync(self, policy: Policy, example: Example) -> None:
        """See to it that the server draws from the policy as it is now.

        Raises:
            ValueError: it does not; says what is wrong.
        """
        # Every operation that changes a tensor counts up its version.
        now = tuple(parameter._version for parameter in policy.model.parameters())
        held = self._held
        is_known = held is not None and held[0]() is policy
        if held is not None and is_known and held[1] == now:
            return
        by_adapters = policy.trains_adapters_alone
        # What is being drawn, here or for another rank, is by the old weights to its end.
        if self._ahead is not None:
            wait(self._ahead[1])
        distributed.barrier()
        problem: ValueError | None = None
        if distributed.rank() == 0:
            try:
                self._load(policy, by_adapters, is_known=is_known)
            except ValueError as error:
                problem = error
        if (problem := distributed.from_main(problem)) is not None:
            raise problem
        self._model = ADAPTER if by_adapters else self.server.model()
        self._check(policy, example)
        self._held = weakref.ref(policy), now

    def _load(self, policy: Policy, by_adapters: bool, *, is_known: bool) -> None:
        """Let the server load what has changed, and forget what it keeps of the old."""
        if not (by_adapters and is_known):
            path = self._place("weights")
            save_weights(policy, path, with_adapters=not by_adapters)
            reload = {"method": "reload_weights", "kwargs": {"weights_path": str(path)}}
            self.server.ask("/collective_rpc", reload)
        if by_adapters:
            path = self._place("adapter")
            save_adapters(policy, path)
            adapter = {"lora_name": ADAPTER, "lora_path": str(path), "load_inplace": True}
            self.server.ask("/v1/load_lora_adapter", adapter)
        self._forget()

    def _forget(self) -> None:
        for cache in ("prefix", "encoder"):
            said = self.server.ask(f"/reset_{cache}_cache", {})
            if isinstance(said, dict) and said.get("success") is False:
                raise ValueError(
                    f"{self.server.url}: cannot empty its {cache} cache; is anybody else using it?"
                )

    def _check(self, policy: Policy, example: Example) -> None:
        """Compare a short caption's log-probabilities with ours; of an earlier prompt, if any."""
        some = [self._probe or example]
        (answer,) = self._send(policy, some, 1, _PROBE)
        drawn = answer.result()
        (rollout,) = as_rollouts(drawn, some, group_size=1, policy=policy, sampling=_PROBE)
        meter, self.meter = self.meter, Meter()  # this is no part of the iteration's work
        with policy.evaluating(), torch.no_grad():
            ours = self.logprobs(policy, [rollout]).logprobs[0].cpu()
        self.meter = meter
        gap = (ours - rollout.logprobs).abs().mean().item()
        allowed = _TOLERANCE[policy.network.dtype]
        if not gap <= allowed:  # NaN is no parity
            raise ValueError(
                f"{self.server.url}: does not draw from the policy as it is now: log-probabilities"
                f" differ by {gap:.2g} on average (allowed: {allowed:g}); its weights, or what it"
                " keeps of old ones, are stale, or its dtype is another. Start the server again,"
                " with the policy's dtype; the same command then goes on"
            )

    def _place(self, name: str) -> Path:
        """A folder that the server reads."""
        if self._folder is None and self._temporary is None:
            self._temporary = TemporaryDirectory(prefix="repic-vllm-")
        root = Path(self._folder or (self._temporary.name if self._temporary else ""))
        folder = root.absolute() / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class Server:
    """A vLLM server's address, and how it is asked.

    Args:
        url: http://host:port.
        timeout: seconds for a whole request.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.url, self.timeout = url.rstrip("/"), timeout
        # A proxy of the environment does not reach this machine's own ports.
        proxies = [urllib.request.ProxyHandler({})] if urlsplit(url).hostname in LOOPBACK else []
        self._opener = urllib.request.build_opener(*proxies)

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a request and return what comes back: JSON, or text.

        Raises:
            ValueError: no answer, or one that says that something is wrong.
        """
        data = None if body is None else json.dumps(body).encode("ascii")
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                content = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
            return json.loads(content) if content and is_json else content.decode()
        except urllib.error.HTTPError as error:
            told = " ".join(error.read(2000).decode("utf-8", "replace").split())[:400]
            is_closed = error.code == 404 and "Not Found" in told  # there is no such path
            mend = f"; nobody may change its weights: {_START}" if is_closed else ""
            raise ValueError(f"{self.url}{path}: {error.code}: {told}{mend}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ValueError(
                f"engine.url: {self.url}{path} does not answer ({error}); {_START}"
            ) from None

    def model(self) -> str:
        """The name of the model that it serves."""
        said = self.ask("/v1/models")
        try:
            return next(m["id"] for m in said["data"] if not m.get("parent"))
        except (LookupError, TypeError, StopIteration):
            raise ValueError(f"{self.url}/v1/models: lists no model") from None


def _asked(
    policy: Policy, examples: Sequence[Example], group_size: int, sampling: Sampling
) -> _Asked:
    ids = tuple(example.id for example in examples)
    return weakref.ref(policy), ids, group_size, sampling


def _read(answer: Any, place: str, times: int, prompt: list[int]) -> list[tuple[list, list, bool]]:
    """Return token ids, log-probabilities and whether it has ended, of each caption."""
    try:
        seen = answer["prompt_token_ids"]
        rows = [
            (
                list(choice["token_ids"]),
                [float(token["logprob"]) for token in choice["logprobs"]["content"]],
                choice["finish_reason"] == "stop",
            )
            for choice in answer["choices"]
        ]
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{place}: this is no answer of vLLM's ({error!r})") from None
    if seen != prompt:
        raise ValueError(
            f"{place}: the server reads another prompt ({len(seen)} tokens where the policy has"
            f" {len(prompt)}); serve the checkpoint that is trained, with its tokenizer, template"
            " and bounds on pictures (model.max_pixels)"
        )
    if len(rows) != times or any(not ids or len(ids) != len(found) for ids, found, _ in rows):
        raise ValueError(f"{place}: captions, or their log-probabilities, are missing")
    return rows


def _drawn(rows: Sequence[tuple[list[int], list[float], bool]], length: int) -> Drawn:
    """Lay captions in rows."""
    tokens, logprobs = (
        torch.zeros(len(rows), length, dtype=torch.long),
        torch.zeros(len(rows), length),
    )
    for i, (ids, found, _) in enumerate(rows):
        tokens[i, : len(ids)] = torch.tensor(ids)
        logprobs[i, : len(ids)] = torch.tensor(found)
    lengths = torch.tensor([len(ids) for ids, _, _ in rows])
    return Drawn(tokens, logprobs, lengths, torch.tensor([ended for _, _, ended in rows]))
