"""The two training modules on a random model, against what one big batch or plain maths gives."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from repic.models.engine.plain import PlainEngine
from repic.models.policy import Policy
from repic.phases import grpo as grpo_module
from repic.phases.grpo import as_groups
from repic.phases.sft import SftModule
from repic.phases.work import enough_memory
from repic.rl.losses import grpo_loss
from repic.types import Rollout
from tests import tiny
from tests.fakes import example
from tests.modules import SGD, TARGETS, Recorder, constant, examples, fit, grpo
from tests.tiny import load

# What depends on how the work was cut, and not on its result.
OF_THE_WORK = ("time/", "tokens/", "memory/")


def sft(
    folder: Path,
    micro_batch: int,
    *,
    grad_clip: float = 1e9,
    length_exponent: float = 1.0,
    position_jumps: float = 0.0,
    **kept: Any,
) -> SftModule:
    micro_batches = 4 // micro_batch
    module = SftModule(
        policy=load(folder),
        engine=kept.get("engine", PlainEngine()),
        optimizer=SGD,
        schedule=constant,
        iterations=2,
        micro_batches=micro_batches,
        grad_clip=grad_clip,
        seed=0,
        monitor=Recorder(),
        length_exponent=length_exponent,
        position_jumps=position_jumps,
    )
    fit(module, micro_batch=micro_batch, iterations=2, accumulate=micro_batches)
    return module


def weights(module: Any) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.policy.trainable_parameters()])


def test_sft_micro_batches_add_up_to_the_batch(folder: Path) -> None:
    whole, halves, singles = (sft(folder, n) for n in (4, 2, 1))
    start = torch.cat([p.detach().flatten() for p in load(folder).trainable_parameters()])
    assert not torch.allclose(weights(whole), start, atol=1e-3)
    torch.testing.assert_close(weights(halves), weights(whole), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(weights(singles), weights(whole), atol=1e-5, rtol=1e-4)
    for one, other in zip(whole.monitor.rows, singles.monitor.rows, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_sft_loss_is_the_mean_over_the_answers_tokens(folder: Path) -> None:
    policy, data = load(folder), examples()
    tokens = PlainEngine().target_logprobs(policy, data, list(TARGETS))
    mean = -tokens.logprobs[tokens.mask].mean()
    gradients = torch.autograd.grad(mean, list(policy.trainable_parameters()), allow_unused=True)
    norm = torch.cat([g.flatten() for g in gradients if g is not None]).norm()
    first = sft(folder, 2).monitor.rows[0]
    assert first["loss"] == pytest.approx(mean.item(), rel=1e-5)
    assert first["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
    assert first["tokens"] == tokens.mask.sum().item()


@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_a_length_exponent_weighs_the_means_of_the_answers(folder: Path, exponent: float) -> None:
    policy, data = load(folder), examples()
    tokens = PlainEngine().target_logprobs(policy, data, list(TARGETS))
    nlls = [-row[mask].mean() for row, mask in zip(tokens.logprobs, tokens.mask, strict=True)]
    counts = [int(mask.sum()) ** exponent for mask in tokens.mask]
    mean = sum(nll * count for nll, count in zip(nlls, counts, strict=True)) / sum(counts)
    assert len(set(counts)) > 1 or exponent == 0
    gradients = torch.autograd.grad(mean, list(policy.trainable_parameters()), allow_unused=True)
    norm = torch.cat([g.flatten() for g in gradients if g is not None]).norm()
    for micro_batch in (1, 4):
        first = sft(folder, micro_batch, length_exponent=exponent).monitor.rows[0]
        assert first["loss"] == pytest.approx(mean.item(), rel=1e-5)
        assert first["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


def test_sft_clips_the_mean_s_gradient(folder: Path) -> None:
    module = sft(folder, 2, grad_clip=1e-3)
    moved = weights(module) - torch.cat(
        [p.detach().flatten() for p in load(folder).trainable_parameters()]
    )
    assert moved.norm() < 2 * 0.5 * 1e-3 * 1.001  # two steps at lr 0.5
    assert module.monitor.rows[0]["grad_norm"] > 1e-3  # the one before clipping


def test_positions_jump_where_they_are_told_to_and_alike_every_time(folder: Path) -> None:
    still, jumping, again = (
        [row["loss"] for row in sft(folder, 4, position_jumps=share).monitor.rows]
        for share in (0.0, 0.9, 0.9)
    )
    assert jumping == again != still


class Poisoned(PlainEngine):
    """Gives an infinite loss on every second call."""

    calls = 0

    def target_logprobs(
        self, policy: Policy, examples: Any, targets: Any, *, jumps: float = 0.0
    ) -> Any:
        tokens = super().target_logprobs(policy, examples, targets, jumps=jumps)
        self.calls += 1
        factor = float("inf") if self.calls % 2 else 1.0
        return tokens._replace(logprobs=tokens.logprobs * factor)


def test_sft_skips_and_counts_what_is_not_finite(folder: Path) -> None:
    module = sft(folder, 4, engine=Poisoned())
    assert [row["skipped"] for row in module.monitor.rows] == [1, 1]
    assert weights(module).isfinite().all()


def test_sft_stops_where_nothing_is_learnt(folder: Path) -> None:
    """Or the model that it began with would be exported as its own."""

    class Always(Poisoned):
        def target_logprobs(self, *arguments: Any, jumps: float = 0.0) -> Any:
            self.calls = 0
            return super().target_logprobs(*arguments, jumps=jumps)

    said = r"stopped in iteration 2 of 2: in 2 in a row loss or gradient was NaN or infinite"
    with pytest.raises(ValueError, match=said):
        sft(folder, 4, engine=Always())


@pytest.mark.parametrize("aggregation", ["sequence_mean", "token_mean", "constant"])
@pytest.mark.parametrize("make", [PlainEngine, tiny.packed_engine])
def test_any_token_budget_gives_the_same_step(
    folder: Path, make: Callable[[], Any], aggregation: str
) -> None:
    # 4 prompts of some 30 tokens with 3 captions of 8: all together, and in groups cut apart.
    whole, *parts = (
        grpo(folder, engine=make(), micro_batch_tokens=n, aggregation=aggregation)
        for n in (4096, 60)
    )
    start = torch.cat([p.detach().flatten() for p in load(folder).trainable_parameters()])
    assert not torch.allclose(weights(whole), start, atol=1e-3)
    for part in parts:
        torch.testing.assert_close(weights(part), weights(whole), atol=1e-5, rtol=1e-3)
        for one, other in zip(whole.monitor.rows, part.monitor.rows, strict=True):
            for key in one.keys() - {k for k in one if k.startswith(OF_THE_WORK)}:
                assert one[key] == pytest.approx(other[key], rel=1e-3, abs=1e-6), key


class Counting(PlainEngine):
    """Counts passes."""

    def __init__(self) -> None:
        super().__init__()
        self.policy_passes = self.reference_passes = 0

    def logprobs(self, policy: Policy, rollouts: Any, *, entropy: bool = False) -> Any:
        self.policy_passes += 1
        return super().logprobs(policy, rollouts, entropy=entropy)

    def reference_logprobs(self, policy: Policy, rollouts: Any) -> Tensor:
        self.reference_passes += 1
        self.policy_passes -= 1  # it goes through logprobs
        return super().reference_logprobs(policy, rollouts)


@pytest.mark.parametrize(
    ("changes", "policy_passes", "reference_passes"),
    [
        ({}, 2, 2),  # 2 iterations: no pass for old log-probabilities
        ({"kl_coef": 0.0}, 2, 0),
        ({"num_updates": 3}, 6, 2),  # the reference's are kept from update to update
        ({"micro_batch_tokens": 1}, 24, 24),  # 4 prompts × 3 rollouts × 2 iterations
    ],
)
def test_grpo_makes_no_pass_that_it_does_not_need(
    folder: Path, changes: dict[str, Any], policy_passes: int, reference_passes: int
) -> None:
    engine = Counting()
    grpo(folder, engine=engine, **changes)
    assert (
        engine.policy_passes == policy_passes + 2
    )  # the checks at the start, with and without pictures
    assert engine.reference_passes == reference_passes


def test_grpo_keeps_the_sampling_policy_s_logprobs_over_several_updates(folder: Path) -> None:
    seen: list[tuple[Tensor, Tensor | None]] = []

    def objective(logprobs: Tensor, old: Tensor | None, *rest: Tensor) -> Any:
        seen.append((logprobs.detach(), old))
        return grpo_loss(logprobs, old, *rest, clip_eps_low=0.2, clip_eps_high=0.2)

    module = grpo(folder, objective=objective, num_updates=3)
    first, second, third = seen[:3]
    assert first[1] is None
    assert torch.equal(second[1], first[0])  # pyright: ignore[reportArgumentType]
    assert third[1] is second[1]
    assert not torch.allclose(second[0], first[0])  # the policy has moved
    assert module.monitor.rows[0]["grpo/length"] > 0


def test_grpo_moves_towards_what_is_rewarded(folder: Path) -> None:
    rows = grpo(folder, kl_coef=0.0).monitor.rows
    assert rows[0]["kl"] == 0
    assert rows[0]["sampler_gap"] < 1e-4
    assert rows[0]["grpo/reward/total"] > 0


def test_grpo_skips_and_counts_what_is_not_finite(folder: Path) -> None:
    def objective(logprobs: Tensor, old: Tensor | None, *rest: Tensor) -> Any:
        result = grpo_loss(logprobs, old, *rest, clip_eps_low=0.2, clip_eps_high=0.2)
        return result._replace(loss=result.loss * float("nan"))

    module = grpo(folder, objective=objective)
    assert module.monitor.rows[-1]["skipped"] == 2
    start = torch.cat([p.detach().flatten() for p in load(folder).trainable_parameters()])
    assert torch.equal(weights(module), start)


def test_a_group_that_mixes_prompts_is_noticed() -> None:
    def rollout(id: str) -> Rollout:
        ids = torch.zeros(1, dtype=torch.long)
        return Rollout(example(id), "a", ids, torch.zeros(1), True)

    rollouts: Sequence[Rollout] = [rollout(id) for id in ("a", "a", "b", "b")]
    assert [len(group) for group in as_groups(rollouts, 2)] == [2, 2]
    with pytest.raises(AssertionError, match="several prompts"):
        as_groups(rollouts, 4)
    with pytest.raises(AssertionError, match="incomplete"):
        as_groups(rollouts[:3], 2)


def test_memory_that_does_not_suffice_is_explained(folder: Path) -> None:
    class Greedy(PlainEngine):
        def logprobs(self, *args: Any, **options: Any) -> Any:
            if options.get("entropy"):  # the check at the start needs none
                torch.empty(2**60)  # an exabyte
            return super().logprobs(*args, **options)

    with pytest.raises(
        ValueError, match=r"micro-batch 1 of 12 .*1 captions.*micro_batch_tokens"
    ) as e:
        grpo(folder, engine=Greedy(), micro_batch_tokens=1)
    assert "goes on after iteration 0" in str(e.value)

    class Hungry(PlainEngine):
        def sample(self, *args: Any, **options: Any) -> Any:
            return torch.empty(2**60)

    with pytest.raises(ValueError, match=r"out of memory in sampling: lower phase.grpo.prompts"):
        grpo(folder, engine=Hungry())


def test_other_runtime_errors_stay_what_they_are(folder: Path) -> None:
    class Broken(PlainEngine):
        def sample(self, *args: Any, **options: Any) -> Any:
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        grpo(folder, engine=Broken())


@pytest.mark.parametrize("make", [PlainEngine, tiny.packed_engine])
def test_an_iteration_says_what_its_work_was(folder: Path, make: Callable[[], Any]) -> None:
    rows = grpo(folder, engine=make()).monitor.rows
    for row in rows:
        assert row["time/rollout_s"] >= row["time/prefill_s"] + row["time/decode_s"] > 0
        assert row["time/update_s"] > row["time/reference_s"] > 0
        assert row["memory/peak_mib"] > 100
        assert row["tokens/prompt"] > 0
    policy = load(folder)
    prompt = sum(len(p.input_ids) for p in policy.encoder.prompts(examples()))
    # Sampling computes each prompt once; reference and update once, or for each of 3 rollouts.
    passes = 3 if make is not PlainEngine else 1 + 2 * 3
    assert rows[0]["tokens/prompt"] == passes * prompt
    assert rows[0]["tokens/prompt"] + rows[0]["tokens/saved"] == 3 * 3 * prompt


def test_sft_explains_memory_too(folder: Path) -> None:
    class Hungry(PlainEngine):
        def target_logprobs(self, *args: Any, **options: Any) -> Any:
            return torch.empty(2**60)

    monitor = Recorder()
    monitor.saved = 7
    told = r"out of memory in sft: lower phase.sft.micro_batch; .*after iteration 7"
    with (
        pytest.raises(ValueError, match=told),
        enough_memory("sft", "lower phase.sft.micro_batch", monitor),
    ):
        sft(folder, 4, engine=Hungry())


def test_grpo_refuses_in_advance_what_will_not_fit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unused(PlainEngine):
        def sample(self, *args: Any, **options: Any) -> Any:
            raise AssertionError("it has begun")

    monkeypatch.setattr(grpo_module, "device_memory", lambda device: 2**10)
    with pytest.raises(ValueError, match=r"grpo does not fit into the 0\.0 GiB of cpu: its "):
        grpo(folder, engine=Unused())
    monkeypatch.setattr(grpo_module, "device_memory", lambda device: 2**40)
    with pytest.raises(AssertionError, match="it has begun"):
        grpo(folder, engine=Unused())
