"""Everything of the GPU check up to the kernels, at a size that a CPU takes in seconds."""

import json
from pathlib import Path
from typing import Any

import pytest

from repic.bench import gpu_check

SMALL: dict[str, Any] = {
    **gpu_check.FULL,
    "pixels": 56,
    "pictures": 2,
    "text_tokens": 12,
    "group_size": 2,
    "caption_tokens": 3,
    "lora": {"r": 2, "alpha": 2, "dropout": 0.0},
    "rounds": 1,
    "seconds": 0,
    "text_config": {
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
    },
    "vision_config": {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 64,
        "fullatt_block_indexes": [0],
    },
}


def found(part: str, out: Path) -> list[dict[str, Any]]:
    gpu_check.run_part(part, "cpu", SMALL, out)
    lines = (out / "gpu_check.jsonl").read_text().splitlines()
    assert all(json.loads(line)["part"] == part for line in lines)
    return [json.loads(line) for line in lines][1:]


def test_engines_and_library_agree(tmp_path: Path) -> None:
    first, *_, second, skipped = found("correctness", tmp_path)
    assert first["packed_from_plain"] < 1e-4
    assert first["plain_from_library"] < 1e-4
    assert first["greedy_equal"] == {"plain": 1, "packed": 1}
    assert (second["dtype"], second["attention"]) == ("bfloat16", "sdpa")
    assert 0 < second["packed_from_plain"] < 0.2
    assert "skipped" in skipped


def test_a_step_is_taken_apart(tmp_path: Path) -> None:
    *_, prediction, warm, plain_warm, packed, plain = found("step", tmp_path)
    assert prediction["predicted_update_peak_gib"] > 0
    assert [warm["round"], plain_warm["round"], packed["round"], plain["round"]] == [0, 0, 1, 1]
    assert [packed["engine"], plain["engine"]] == ["packed", "plain"]
    parts = ("rollout_s", "reference_s", "update_s", "optimizer_s")
    assert sum(packed[part] for part in parts) == pytest.approx(packed["step_s"], rel=0.1)
    assert packed["decode_tokens_per_s"] == pytest.approx(6 / packed["decode_s"])


def test_the_toybox_is_learnt_from(tmp_path: Path) -> None:
    assert found("toybox", tmp_path)[-1]["steps"] == 1


def test_a_part_has_its_time(tmp_path: Path) -> None:
    arguments = ["--part", "toybox", "--device", "cpu", "--out", str(tmp_path)]
    assert gpu_check.run_process(arguments, 0.01) == "not done after 0.01 s"
    assert "--part: invalid choice" in gpu_check.run_process(["--part", "none"], 60)
