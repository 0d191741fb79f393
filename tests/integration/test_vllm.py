"""Reinforcement with captions that a server draws: a stand-in, and vLLM itself where it is there.

vLLM is an environment of its own (requirements-vllm.lock); its tests run with REPIC_VLLM=<its
python>, or the address of a server of the shipped model.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from repic.models.engine.packed import PackedEngine
from repic.models.engine.vllm import VllmEngine
from repic.models.loading import find_model
from repic.models.policy import Policy
from repic.phases.guards import RunStopped
from repic.rl.correction import Correction
from repic.types import Example, Rollout
from tests import tiny
from tests.fakes import Noise, example
from tests.forked import free_port
from tests.modules import Recorder, grpo, guard, guards
from tests.vllm_server import vllm_server

PYTHON = os.environ.get("REPIC_VLLM")


def engine(url: str, **changes: Any) -> VllmEngine:
    given: dict[str, Any] = {"url": url, "folder": None, "timeout": 120.0, "lag": 0}
    given |= {"correction": Correction(level="token", cap=2.0), "feature_cache": 8}
    return VllmEngine(**given | changes)


def test_a_run_is_told_how_its_sampler_differs(model: Path) -> None:
    on_time, late = Recorder(), Recorder()
    with vllm_server(model) as (url, _):
        grpo(model, engine=engine(url), monitor=on_time)
    with vllm_server(model) as (url, fake):
        grpo(model, engine=engine(url, lag=1), monitor=late, iterations=3)
        asked = [body["messages"] for path, body in fake.requests if path.endswith("completions")]
    for row in on_time.rows:
        assert row["sampler_gap"] < 1e-5
        assert row["correction"] == pytest.approx(1, abs=1e-4)
        assert row["correction_capped_frac"] == 0
    # Only the first iteration's captions are of the policy that learns from them.
    assert late.rows[0]["sampler_gap"] < 1e-5
    for row in late.rows[1:]:
        assert row["sampler_gap"] > 1e-3
        assert row["correction"] != pytest.approx(1, abs=1e-4)
    probes = 2  # one for each state that captions were drawn from
    assert len(asked) == 3 * 4 + probes


def test_a_sampler_that_is_far_off_stops_the_run(model: Path) -> None:
    limit = guards(max_sampler_gap=guard(1e-3))
    with (
        vllm_server(model) as (url, _),
        pytest.raises(RunStopped, match=r"after iteration 2 of 3.*max_sampler_gap"),
    ):
        grpo(model, engine=engine(url, lag=1), guards=limit, iterations=3)


@pytest.fixture(scope="module")
def vllm() -> Iterator[str]:
    """vLLM's own server of the shipped model, started as people start it."""
    if PYTHON is None:
        pytest.skip("REPIC_VLLM names no python of an environment made from requirements-vllm.lock")
    if PYTHON.startswith("http"):
        yield PYTHON
        return
    port = free_port()
    settings = [f"python={PYTHON}", f"port={port}", "rollouts=true", "context=2048", "rank=16"]
    process = subprocess.Popen(
        [sys.executable, "-m", "repic.serve", "package://repic/models/tiny", *settings],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None, process.communicate()[1][-3000:]
            try:
                engine(url).server.ask("/health")
                break
            except ValueError:
                time.sleep(1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()


def gap(policy: Policy, rollouts: Sequence[Rollout]) -> float:
    with torch.no_grad():
        scored = tiny.packed_engine().logprobs(policy, rollouts)
    sampled = torch.nn.utils.rnn.pad_sequence([r.logprobs for r in rollouts], batch_first=True)
    return (scored.logprobs - sampled)[scored.mask].abs().max().item()


def photos() -> list[Example]:
    """Prompts of up to 162 tokens, as vLLM keeps whole blocks of 128.

    Their pictures are of a size that needs no shrinking, which it does in a way of its own.
    """
    return [
        example(f"e{n}", [Noise(i, 128, 96) for i in range(n)], Noise(9, 160, 128), "Who is there?")
        for n in range(1, 6)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"r": 8, "alpha": 16.0, "dropout": 0.0}])
def test_vllm_draws_from_the_policy(vllm: str, lora: Any, monkeypatch: Any) -> None:
    policy = tiny.load(find_model("package://repic/models/tiny"), lora=lora)
    drawing, sampling = engine(vllm), tiny.sampling(max_new_tokens=24)
    greedy = tiny.sampling(max_new_tokens=24, temperature=0.0)
    optimizer = torch.optim.SGD(policy.trainable_parameters(), lr=1.0)

    def draw(by: PackedEngine, how: Any, size: int) -> list[Rollout]:
        return by.sample(policy, photos(), group_size=size, sampling=how, seed=0)

    def step() -> None:
        """Make what was drawn less likely."""
        rollouts = draw(tiny.packed_engine(), sampling, 2)
        loss = tiny.packed_engine().logprobs(policy, rollouts).logprobs.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.trainable_parameters(), 0.3)
        optimizer.step()

    for _ in range(3):
        rollouts = draw(drawing, sampling, 4)
        assert gap(policy, rollouts) < 1e-4
        assert len({r.text for r in rollouts}) > 5
        expected = draw(tiny.packed_engine(), greedy, 1)
        for its, ours in zip(draw(drawing, greedy, 1), expected, strict=True):
            assert its.completion_ids.tolist() == ours.completion_ids.tolist()
            assert (its.text, its.finished) == (ours.text, ours.finished)
        step()
    draw(drawing, sampling, 1)
    monkeypatch.setattr(drawing, "_forget", lambda: drawing.server.ask("/reset_encoder_cache", {}))
    step()
    with pytest.raises(ValueError, match="does not draw from the policy as it is now"):
        draw(drawing, sampling, 1)
