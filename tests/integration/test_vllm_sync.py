"""Captions drawn by a server, held to those that are drawn here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import torch

from repic import distributed
from repic.captioners.model import sample_captions
from repic.models.engine.packed import PackedEngine
from repic.models.engine.vllm import VllmEngine
from repic.models.policy import Policy
from repic.rl.correction import Correction
from repic.types import Rollout
from tests import tiny
from tests.fakes import Noise, example, mixed_examples
from tests.vllm_server import MAX_RANK, FakeVllm, vllm_server

LORA = {"r": 4, "alpha": 8.0, "dropout": 0.0}
TOKEN = Correction(level="token", cap=2.0)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_qwen(tmp_path_factory.mktemp("qwen"))


@contextmanager
def served(qwen: Path, **changes: Any) -> Iterator[tuple[VllmEngine, FakeVllm]]:
    with vllm_server(qwen) as (url, fake):
        given = {"url": url, "folder": None, "timeout": 60.0, "lag": 0, "correction": TOKEN}
        yield VllmEngine(feature_cache=8, **given | changes), fake


def draw(engine: PackedEngine, policy: Policy, **changes: Any) -> list[Rollout]:
    return engine.sample(
        policy, mixed_examples(), group_size=2, sampling=tiny.sampling(**changes), seed=0
    )


def move(policy: Policy) -> None:
    """Take a step that everybody notices."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(policy.trainable_parameters(), lr=0.05)
    for parameter in policy.trainable_parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()


def gap(engine: PackedEngine, policy: Policy, rollouts: list[Rollout]) -> float:
    with torch.no_grad():
        scored = engine.logprobs(policy, rollouts)
    sampled = torch.nn.utils.rnn.pad_sequence([r.logprobs for r in rollouts], batch_first=True)
    return (scored.logprobs - sampled)[scored.mask].abs().max().item()


@pytest.mark.parametrize("lora", [None, LORA], ids=["weights", "adapters"])
def test_it_draws_from_the_policy_before_and_after_a_step(qwen: Path, lora) -> None:
    policy = tiny.load(qwen, lora=lora)
    with served(qwen) as (engine, fake):
        for _ in range(3):
            move(policy)
            rollouts = draw(engine, policy)
            assert gap(engine, policy, rollouts) < 1e-4
            assert [r.example.id for r in rollouts] == "two two text text one one".split()
            greedy = draw(engine, policy, temperature=0.0)
            expected = draw(tiny.packed_engine(), policy, temperature=0.0)
            for ours, its in zip(expected, greedy, strict=True):
                assert its.completion_ids.tolist() == ours.completion_ids.tolist()
                assert (its.text, its.finished) == (ours.text, ours.finished)
        reloads = [path for path, _ in fake.requests if path == "/collective_rpc"]
        assert len(reloads) == (1 if lora else 3)  # adapters alone go there after the first time


def test_what_does_not_change_is_not_sent_again(qwen: Path) -> None:
    policy = tiny.load(qwen)
    with served(qwen) as (engine, fake):
        draw(engine, policy)
        fake.requests.clear()
        draw(engine, policy)
        assert {path for path, _ in fake.requests} == {"/v1/chat/completions"}
        other = tiny.load(qwen)
        move(other)
        assert gap(engine, other, draw(engine, other)) < 1e-4
        assert gap(engine, policy, draw(engine, policy)) < 1e-4


@pytest.mark.parametrize(
    ("lora", "forgotten", "told"),
    [
        (None, "/reset_prefix_cache", "does not draw from the policy as it is now"),
        (None, "/reset_encoder_cache", "500: .*Encoder cache miss"),
        (None, "/collective_rpc", "does not draw from the policy as it is now"),
        (LORA, "/reset_prefix_cache", "does not draw from the policy as it is now"),
        (LORA, "/v1/load_lora_adapter", "does not draw from the policy as it is now"),
    ],
)
def test_a_server_with_something_old_stops_the_next_iteration(
    qwen: Path, lora, forgotten: str, told: str
) -> None:
    policy = tiny.load(qwen, lora=lora)
    with served(qwen) as (engine, fake):
        draw(engine, policy)
        fake.ignored.add(forgotten)
        move(policy)
        with pytest.raises(ValueError, match=told):
            draw(engine, policy)


def test_a_sync_that_fails_stops_the_run(qwen: Path) -> None:
    policy = tiny.load(qwen, lora=LORA | {"r": MAX_RANK + 1})
    with served(qwen) as (engine, _), pytest.raises(ValueError, match=r"400: .*max_lora_rank 16"):
        draw(engine, policy)
    with served(qwen) as (engine, fake):
        fake.refused.add("/collective_rpc")
        with pytest.raises(ValueError, match=r"/collective_rpc: 500"):
            draw(engine, tiny.load(qwen))
    nobody = VllmEngine(
        url="http://127.0.0.1:9", folder=None, timeout=1.0, lag=0, correction=None, feature_cache=8
    )
    with pytest.raises(ValueError, match=r"does not answer .*repic\.serve"):
        draw(nobody, tiny.load(qwen))


def test_another_prompt_than_the_policy_s_is_refused(qwen: Path, tmp_path: Path) -> None:
    other = tiny.build_qwen(tmp_path)
    tiny.rewrite_json(
        other / "preprocessor_config.json", size={"shortest_edge": 196, "longest_edge": 784}
    )
    with served(other) as (engine, _), pytest.raises(ValueError, match="reads another prompt"):
        draw(engine, tiny.load(qwen))


def test_what_is_drawn_ahead_is_by_the_policy_of_then(qwen: Path) -> None:
    policy, sampling = tiny.load(qwen), tiny.sampling()
    some, later = mixed_examples(), [example("later", [Noise(7)], Noise(8))]
    with served(qwen, lag=1) as (engine, _):
        engine.begin(policy, later, group_size=4, sampling=sampling)
        before = tiny.load(qwen)
        move(policy)
        rollouts = engine.sample(policy, later, group_size=4, sampling=sampling, seed=0)
        assert gap(engine, before, rollouts) < 1e-4 < 1e-3 < gap(engine, policy, rollouts)
        engine.begin(policy, later, group_size=4, sampling=sampling)
        other = engine.sample(policy, some, group_size=2, sampling=sampling, seed=0)
        assert [r.example.id for r in other[::2]] == [e.id for e in some]  # not what was ahead


def test_what_is_drawn_ahead_outlives_a_validation(qwen: Path) -> None:
    policy, sampling, later = tiny.load(qwen), tiny.sampling(), [example("later", [], Noise(8))]
    with served(qwen, lag=1) as (engine, fake):
        draw(engine, policy)
        fake.may_draw.clear()
        engine.begin(policy, later, group_size=4, sampling=sampling)
        Timer(0.3, fake.may_draw.set).start()
        before = tiny.load(qwen)
        move(policy)
        assert gap(engine, policy, draw(engine, policy)) < 1e-4
        asked = len(fake.requests)
        rollouts = engine.sample(policy, later, group_size=4, sampling=sampling, seed=0)
        assert len(fake.requests) == asked
        assert gap(engine, before, rollouts) < 1e-4


def test_what_another_rank_is_drawing_is_by_the_old_weights_to_its_end(
    qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, before = (tiny.load(qwen) for _ in range(2))
    later, drawn = [example("later", [], Noise(8))], []
    with served(qwen, lag=1) as (engine, fake):
        settings: Any = {"folder": None, "timeout": 60.0, "lag": 1, "correction": TOKEN}
        other = VllmEngine(url=engine.server.url, feature_cache=8, **settings)
        asked: Any = {"group_size": 4, "sampling": tiny.sampling()}
        draw(other, before)
        fake.may_draw.clear()
        other.begin(before, later, **asked)

        def meet() -> None:
            """As the other rank does: it comes when it has its captions."""
            fake.may_draw.set()
            drawn.extend(other.sample(before, later, **asked, seed=0))

        monkeypatch.setattr(distributed, "barrier", meet)
        move(policy)
        assert gap(engine, policy, draw(engine, policy)) < 1e-4
        monkeypatch.undo()
    assert len(drawn) == 4
    assert gap(tiny.packed_engine(), before, drawn) < 1e-4


def test_a_rank_without_a_scene_meets_the_others(qwen: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(distributed, "own", lambda: slice(1, None, 2))
    policy, alone = tiny.load(qwen), mixed_examples()[:1]
    with served(qwen) as (engine, fake):
        said = sample_captions(policy, engine, alone, batch_size=4, sampling=tiny.sampling())
    assert not said
    assert "/collective_rpc" in [path for path, _ in fake.requests]
