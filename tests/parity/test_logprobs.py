"""Log-probabilities against a plain forward of the library, one rollout at a time.

The library's side uses its own processor, its own positions, its own loop over images in the
vision tower and the logits of every place.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, PreTrainedModel

from repic.models.engine.plain import PlainEngine
from repic.types import Example, Rollout
from tests import tiny
from tests.fakes import Noise, example


@pytest.fixture(scope="module", params=["qwen", "llava"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = {"qwen": tiny.build_qwen, "llava": tiny.build_llava}[request.param]
    return build(tmp_path_factory.mktemp(request.param))


EXAMPLES = [
    example("text", question="red or blue?"),
    example("one", query=Noise(0, 14, 28)),
    example("two", [Noise(1)], Noise(2, 56, 42), "Who?"),
    example("six", [Noise(seed, 28, 14 * seed) for seed in range(1, 6)], Noise(9)),
]


def library_logprobs(
    model: PreTrainedModel, folder: Path, one: Example, completion_ids: Tensor
) -> Tensor:
    inputs = tiny.library_inputs(folder, [one])
    length = len(completion_ids)
    row = torch.cat([inputs["input_ids"], completion_ids[None]], dim=1)
    inputs["input_ids"] = row
    inputs["attention_mask"] = torch.ones_like(row)
    if "mm_token_type_ids" in inputs:
        kinds = inputs["mm_token_type_ids"]
        inputs["mm_token_type_ids"] = torch.cat([kinds, kinds.new_zeros(1, length)], dim=1)
    model.model.rope_deltas = None  # left by the forward before
    logits = model(**inputs).logits[:, -length - 1 : -1]
    return logits.log_softmax(dim=-1).gather(-1, completion_ids[None, :, None])[0, :, 0]


def test_logprobs_and_gradients_equal_the_library(directory: Path) -> None:
    policy = tiny.load(directory, train_vision=True)
    library = AutoModelForImageTextToText.from_pretrained(directory)
    ids = [torch.randint(5, 250, (length,)) for length in (1, 7, 3, 12, 5)]
    rollouts = [
        Rollout(one, "", completion, torch.zeros(len(completion)), False)
        for one, completion in zip([*EXAMPLES, EXAMPLES[2]], ids, strict=True)
    ]
    ours = PlainEngine().logprobs(policy, rollouts)
    weights = torch.linspace(-1, 1, len(rollouts))
    (weights @ ours.logprobs.sum(dim=1)).backward()
    for i, rollout in enumerate(rollouts):
        expected = library_logprobs(library, directory, rollout.example, rollout.completion_ids)
        torch.testing.assert_close(ours.logprobs[i][ours.mask[i]], expected, atol=1e-5, rtol=0)
        (weights[i] * expected.sum()).backward()
    for (name, found), expected in zip(
        policy.model.named_parameters(), library.parameters(), strict=True
    ):
        if expected.grad is None:  # layers of the tower behind the one that is used
            assert found.grad is None, name
            continue
        scale = expected.grad.abs().max().item() + 0.05
        torch.testing.assert_close(found.grad, expected.grad, atol=2e-5 * scale, rtol=0, msg=name)


def test_a_fall_back_to_plain_positions_would_be_noticed(tmp_path: Path) -> None:
    folder = tiny.build_qwen(tmp_path)
    library = AutoModelForImageTextToText.from_pretrained(folder)
    completion = torch.tensor([40, 41, 42])
    policy = tiny.load(folder)
    rollout = Rollout(EXAMPLES[3], "", completion, torch.zeros(3), False)
    ours = PlainEngine().logprobs(policy, [rollout]).logprobs[0]
    right = library_logprobs(library, folder, EXAMPLES[3], completion)
    inputs = tiny.library_inputs(folder, [EXAMPLES[3]])
    library.model.rope_deltas = None
    row = torch.cat([inputs["input_ids"], completion[None]], dim=1)
    wrong = library(
        input_ids=row,
        pixel_values=inputs["pixel_values"],
        image_grid_thw=inputs["image_grid_thw"],
    ).logits[0, -4:-1]
    wrong = wrong.log_softmax(dim=-1).gather(-1, completion[:, None])[:, 0]
    assert (right - wrong).abs().max() > 1e-2
    torch.testing.assert_close(ours, right, atol=1e-5, rtol=0)
