"""Five deterministic iterations on a random model: the numbers that a change must not change.

Where a change is meant to, write them anew and say why:
    python -m tests.golden.test_grpo
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch

from repic.models.engine.plain import PlainEngine
from tests import tiny
from tests.modules import grpo
from tests.tiny import build_qwen

FILE = Path(__file__).with_name("grpo.json")
KEYS = ("loss", "kl", "grpo/reward/total", "grpo/entropy", "grad_norm", "clip_frac")
ENGINES: dict[str, Callable[[], Any]] = {
    "plain": PlainEngine,
    "packed": tiny.packed_engine,
}


def five_iterations(engine: str, folder: Path) -> list[dict[str, float]]:
    # Two updates an iteration, so that ratios differ from one and some are clipped.
    module = grpo(
        folder,
        engine=ENGINES[engine](),
        optimizer=partial(torch.optim.SGD, lr=0.1),
        iterations=5,
        num_updates=2,
        grad_clip=0.5,
    )
    return [{key: row[key] for key in KEYS} for row in module.monitor.rows]


@pytest.mark.parametrize("engine", ENGINES)
def test_five_iterations_are_what_they_were(engine: str, tmp_path: Path) -> None:
    found = five_iterations(engine, build_qwen(tmp_path / "model", seed=1))
    expected = json.loads(FILE.read_text(encoding="utf-8"))
    assert len(found) == len(expected) == 5
    for have, want in zip(found, expected, strict=True):
        assert have == pytest.approx(want, abs=1e-5)


if __name__ == "__main__":
    rows = five_iterations("plain", build_qwen(Path(mkdtemp()) / "model", seed=1))
    FILE.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
