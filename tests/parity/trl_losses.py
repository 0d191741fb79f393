"""Losses and gradients of TRL's ``GRPOTrainer`` on fixed log-probabilities, as a JSON file.

Its ``_compute_loss`` is called as it is, with log-probabilities in place of a model. The file is
made where TRL is installed (pip install -e '.[peer]'):
    python -m tests.parity.trl_losses
"""

import json
from collections import defaultdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

FILE = Path(__file__).with_name("trl_losses.json")
ROWS, TOKENS, MAX_TOKENS = 6, 7, 9
KL_COEF = 0.04
CLIP = {"epsilon_low": 0.2, "epsilon_high": 0.28}
# Name → settings of TRL's that make it. The KL is in some and not in others, old
# log-probabilities are absent ("on_policy") or differ by about as much as a few updates make.
CASES: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo"},
    "grpo_on_policy": {"loss_type": "grpo", "on_policy": True},
    "grpo_kl": {"loss_type": "grpo", "beta": KL_COEF},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "dr_grpo_kl": {"loss_type": "dr_grpo", "beta": KL_COEF},
    "dapo": {"loss_type": "dapo"},
    "dapo_kl": {"loss_type": "dapo", "beta": KL_COEF},
    # Not with "grpo", whose mean TRL takes over truncated captions as well, and we do not.
    "dapo_truncated": {"loss_type": "dapo", "truncated": [1, 4]},
    "bnpo": {"loss_type": "bnpo"},  # one batch: the same as DAPO
    "gspo": {"loss_type": "grpo", "level": "sequence", "epsilon_low": 0.05, "epsilon_high": 0.08},
    "gspo_kl": {"loss_type": "grpo", "level": "sequence", "beta": KL_COEF},
    "gspo_token_mean": {"loss_type": "dapo", "level": "sequence"},
    "cispo": {"loss_type": "cispo", "epsilon_high": 1.2},  # the largest weight itself
    "cispo_on_policy": {"loss_type": "cispo", "epsilon_high": 5.0, "on_policy": True},
    "cispo_kl": {"loss_type": "cispo", "epsilon_high": 1.2, "beta": KL_COEF},
}


def inputs() -> dict[str, Tensor]:
    """Log-probabilities, advantages and a ragged mask; the padding holds large numbers."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    old = -normal(ROWS, TOKENS).abs() * 2 - 0.05
    mask = torch.arange(TOKENS) < torch.tensor([7, 1, 3, 5, 2, 6])[:, None]
    made = {
        "logprobs": old + 0.3 * normal(ROWS, TOKENS),
        "old_logprobs": old,
        "ref_logprobs": old + 0.5 * normal(ROWS, TOKENS),
    }
    made = {name: values.masked_fill(~mask, -8.0) for name, values in made.items()}
    return {**made, "advantages": normal(ROWS), "mask": mask}


def trl_loss(case: dict[str, Any], given: dict[str, Tensor]) -> tuple[float, list[list[float]]]:
    """TRL's loss and its gradient by the log-probabilities."""
    from trl import GRPOTrainer

    settings = {**CLIP, "level": "token", "beta": 0.0, "truncated": (), **case}
    logprobs = given["logprobs"].clone().requires_grad_()
    mask = given["mask"].double()
    mask[list(settings["truncated"])] = 0  # what mask_truncated_completions does
    trainer = stand_in(settings, logprobs)
    batch = {
        "prompt_ids": torch.zeros(ROWS, 1, dtype=torch.long),
        "prompt_mask": torch.ones(ROWS, 1),
        "completion_ids": torch.zeros(ROWS, TOKENS, dtype=torch.long),
        "completion_mask": mask,
        "advantages": given["advantages"],
        "ref_per_token_logps": given["ref_logprobs"],
        "num_items_in_batch": mask.sum(),
    }
    if not settings.get("on_policy"):
        batch["old_per_token_logps"] = given["old_logprobs"]
    loss = GRPOTrainer._compute_loss(trainer, trainer.model, batch)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    return loss.item(), gradient.tolist()


def stand_in(settings: dict[str, Any], logprobs: Tensor) -> Any:
    """What ``_compute_loss`` reads of a trainer: one process, one step, no entropy, no vLLM."""
    accelerator = SimpleNamespace(
        num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x, sync_gradients=True
    )
    extra = SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1)
    return SimpleNamespace(
        accelerator=accelerator,
        args=extra,
        model=SimpleNamespace(training=True),
        loss_type=settings["loss_type"],
        importance_sampling_level=settings["level"],
        epsilon_low=settings["epsilon_low"],
        epsilon_high=settings["epsilon_high"],
        beta=settings["beta"],
        max_completion_length=MAX_TOKENS,
        current_gradient_accumulation_steps=1,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        aux_loss_enabled=False,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=partial(scores, logprobs),
    )


def scores(logprobs: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor, None]:
    """Stand for the model's pass."""
    return logprobs, torch.zeros_like(logprobs), None


def main() -> None:
    """Write the file."""
    import trl

    given = inputs()
    found = {name: trl_loss(case, given) for name, case in CASES.items()}
    record = {
        "trl": trl.__version__,
        "inputs": {name: values.tolist() for name, values in given.items()},
        "cases": {name: {"loss": loss, "gradient": grad} for name, (loss, grad) in found.items()},
    }
    FILE.write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
