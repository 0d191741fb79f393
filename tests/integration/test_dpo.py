"""Captions that somebody has put right teach a model, as captions and as preferences."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException

from repic.data.corrections import CORRECTIONS, save_correction
from repic.models.engine.plain import PlainEngine
from repic.phases.dpo import DpoModule
from repic.types import Example
from tests import tiny
from tests.integration.small import start, summary_of
from tests.integration.test_training_modules import weights
from tests.modules import SGD, Recorder, constant, examples, fit
from tests.tiny import load
from tests.unit.data.test_album import photo


def pairs() -> list[Example]:
    return [replace(e, rejected=f"not {e.target}") for e in examples()]


def dpo(model: Path, micro_batch: int, *, packed: bool = False) -> DpoModule:
    micro_batches = 4 // micro_batch
    module = DpoModule(
        beta=0.5,
        policy=load(model),
        engine=tiny.packed_engine() if packed else PlainEngine(),
        optimizer=SGD,
        schedule=constant,
        iterations=2,
        micro_batches=micro_batches,
        grad_clip=1.0,
        seed=0,
        monitor=Recorder(),
    )
    fit(module, micro_batch=micro_batch, iterations=2, accumulate=micro_batches, data=pairs())
    return module


def test_the_better_answers_gain_on_the_worse_ones(model: Path) -> None:
    module = dpo(model, 4)
    first, second = module.monitor.rows
    assert first["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert (first["margin"], first["accuracy"]) == (pytest.approx(0, abs=1e-5), 0)
    assert second["loss"] < first["loss"]
    assert second["margin"] > 0
    assert second["accuracy"] > 0.5
    tokens = PlainEngine().target_logprobs(load(model), pairs(), [e.target for e in pairs()])
    assert first["tokens"] > 2 * tokens.mask.sum().item()  # the worse ones are longer by a word


@pytest.mark.parametrize("packed", [False, True])
def test_pairs_add_up_however_they_are_cut(model: Path, packed: bool) -> None:
    whole, singles = dpo(model, 4), dpo(model, 1, packed=packed)
    torch.testing.assert_close(weights(singles), weights(whole), atol=1e-5, rtol=1e-3)
    for one, other in zip(whole.monitor.rows, singles.monitor.rows, strict=True):
        for key in ("loss", "margin", "accuracy", "grad_norm", "tokens"):
            assert one[key] == pytest.approx(other[key], rel=1e-3, abs=1e-5)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for number, name in enumerate(("Bo", "Kim")):
        for i in range(2):
            photo(tmp_path / "album" / name / f"{i}.png", f"rgb({90 * number},{90 * i},7)")
    for number in range(3):
        upload = photo(tmp_path / "photos" / "Bo" / f"{number}.png", f"rgb(9,9,{number})")
        save_correction(
            tmp_path / "album",
            upload,
            question="Who?",
            introduced=["<Bo>", "<Kim>"],
            said="Here is <Kim>.",
            wrong=["<Kim>"],
            right=["<Bo>"] if number else [],  # nobody is on the first one
            largest=None,
        )
    return tmp_path


def started(model: Path, album: Path, method: str, train: str) -> Path:
    words = [f"method={method}", "reward=none", "data=folder", f"data.root={album}/album"]
    words += [f"data.photos={album}/photos", f"data.train_photos={album}/{train}"]
    return start(model, album / "out", *words, name=method)


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_run_learns_from_corrections(model: Path, album: Path, method: str) -> None:
    folder = started(model, album, method, f"album/{CORRECTIONS}")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [row[f"{method}/loss"] for row in rows if f"{method}/loss" in row]
    assert len(losses) == 2
    assert {"base", method} <= summary_of(folder)["metrics"].keys()


def test_preferences_need_corrections(model: Path, album: Path) -> None:
    told = r"photos: nobody has corrected a caption, .*repic\.app"
    with pytest.raises(InstantiationException, match=told):
        started(model, album, "dpo", "photos")
    with pytest.raises(ValueError, match=r"data\.train: no example has an answer that is worse"):
        start(
            model, album / "out", "method=dpo", "reward=none", "phase.dpo.counts=[1]", name="toys"
        )
