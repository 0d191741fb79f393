"""Decoding against shared prompts: one masked attention for each rollout says what is right."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from repic.models.engine import cache as cache_module
from repic.models.engine import packed
from repic.models.engine.cache import GroupCache
from repic.models.engine.kernels import attend_by_products
from repic.models.engine.packed import PackedEngine
from repic.models.engine.packed_decoder import CapturedStep, PackedDecoder
from tests import tiny
from tests.fakes import Noise, example, mixed_examples
from tests.properties import at_most

HEADS, KV_HEADS, SIZE, SCALE = 4, 2, 8, 0.4


def alone(query, keys, values):
    """Attention of one rollout's newest token over all it may see."""
    keys, values = (x.repeat_interleave(HEADS // KV_HEADS, dim=0) for x in (keys, values))
    return scaled_dot_product_attention(query, keys, values, scale=SCALE)[:, 0]


@at_most(15)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    width=st.integers(1, 5),
    ends=st.lists(st.integers(0, 40), min_size=20, max_size=20),
    is_fixed=st.booleans(),
    has_kernel=st.booleans(),
)
def test_every_rollout_sees_its_prompt_and_itself(lengths, width, ends, is_fixed, has_kernel):
    with pytest.MonkeyPatch.context() as patch:
        if not has_kernel:
            patch.setattr(cache_module, "attend_few", attend_by_products)
        check_what_rollouts_see(lengths, width, ends, is_fixed)


def check_what_rollouts_see(
    lengths: list[int], width: int, ends: list[int], is_fixed: bool
) -> None:
    draw = torch.Generator().manual_seed(len(lengths))

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    cache = GroupCache(lengths, width, capacity=40 if is_fixed else None)
    prompts = [(random(KV_HEADS, n, SIZE), random(KV_HEADS, n, SIZE)) for n in lengths]
    for place, (key, value) in enumerate(prompts):
        cache.put(0, place, key, value)
    own = [(random(KV_HEADS, 40, SIZE), random(KV_HEADS, 40, SIZE)) for _ in range(20)]
    rollouts = torch.arange(len(lengths) * width)  # in the cache's rows
    moves = 0
    for step in range(40):  # beyond the first capacity
        query = random(len(rollouts), HEADS, 1, SIZE)
        key, value = (
            torch.stack([own[r][kind][:, step : step + 1] for r in rollouts.tolist()])
            for kind in (0, 1)
        )
        found = cache.attend(0, query, key, value, scale=SCALE)
        is_going = torch.tensor([ends[r] > step for r in rollouts.tolist()])
        for row, rollout in enumerate(rollouts.tolist()):
            if not is_going[row]:
                continue  # of those that have ended nobody looks at the output
            sees = [
                torch.cat([shared, mine[:, : step + 1]], dim=1)
                for shared, mine in zip(prompts[rollout // width], own[rollout], strict=True)
            ]
            expected = alone(query[row], *sees)
            torch.testing.assert_close(found[row, 0], expected, atol=1e-5, rtol=0)
        cache.advance()
        if not is_going.any():
            break
        kept = cache.keep(is_going)
        assert set(rollouts[is_going].tolist()) <= set(rollouts[kept].tolist())
        moves += len(kept) < len(rollouts)
        rollouts = rollouts[kept]
    assert moves <= 12  # a copy of everything is made now and then, not at every end


@pytest.mark.parametrize("group_size", [1, 4])
def test_steps_of_one_shape_draw_the_same(
    directory: Path, group_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tiny.load(directory)
    policy.stop_ids = tuple(range(300, 330))
    prompts = [*mixed_examples(), example("x", [Noise(7)])]
    engine = tiny.packed_engine()

    def drawn() -> list[list[int]]:
        rollouts = engine.sample(
            policy,
            prompts,
            group_size=group_size,
            sampling=tiny.sampling(max_new_tokens=40),
            seed=3,
        )
        return [rollout.completion_ids.tolist() for rollout in rollouts]

    growing = drawn()
    capacities: list[int] = []

    def fixed(lengths: list[int], width: int, *, capacity: int | None) -> GroupCache:
        assert capacity is None  # without a GPU there is nothing to record
        capacities.append(40)
        return GroupCache(lengths, width, capacity=40)

    monkeypatch.setattr(packed, "GroupCache", fixed)
    assert drawn() == growing
    assert capacities == [40]


class Devices(TorchDispatchMode):
    """Notes where tensors are that operations take and return."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        self.seen |= {x.device.type for x in tensors}
        return out


def test_a_step_that_is_recorded_asks_nothing_of_the_cpu(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On the meta device, who asks for a number fails, as while a GPU records.
    policy = tiny.load(directory).to("meta")
    engine, prompts = tiny.packed_engine(), policy.encoder.prompts(mixed_examples())
    engine.prepare(policy)
    cache = GroupCache([len(prompt.input_ids) for prompt in prompts], 2, capacity=4)
    tokens = torch.ones(2 * len(prompts), dtype=torch.long, device="meta")
    made: list[object] = []  # of Python's numbers, on the CPU first
    make = torch.tensor
    with torch.no_grad(), policy.evaluating():
        last = engine._prefill(policy, prompts, cache, 0)
        decoder = PackedDecoder(policy, prompts, cache, last, captures=False)
        monkeypatch.setattr(torch, "tensor", lambda *a, **k: (made.append(a), make(*a, **k))[1])
        decoder._compute(tokens, decoder.next_position)
        assert made  # the first call, which is not recorded
        made.clear()
        with Devices() as recorded:
            decoder._compute(tokens, decoder.next_position)
    assert made == []
    assert recorded.seen == {"meta"}


@pytest.mark.gpu
def test_recorded_steps_draw_the_same(directory: Path) -> None:
    policy = tiny.load(directory).to("cuda")
    policy.stop_ids = tuple(range(300, 330))
    prompts = [*mixed_examples(), example("x", [Noise(7)])]
    results = []
    for cuda_graphs in (False, True):
        engine = PackedEngine(feature_cache=8, cuda_graphs=cuda_graphs)
        sampling = tiny.sampling(max_new_tokens=40)
        rollouts = engine.sample(policy, prompts, group_size=4, sampling=sampling, seed=3)
        results.append([rollout.completion_ids.tolist() for rollout in rollouts])
    assert results[0] == results[1]


@pytest.mark.gpu
def test_a_recorded_step_takes_other_inputs() -> None:
    def compute(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x * 2 + y

    one, two = torch.ones(3, device="cuda"), torch.full((3,), 5.0, device="cuda")
    step = CapturedStep(compute, one, one)
    assert step(two, one).tolist() == [11, 11, 11]
