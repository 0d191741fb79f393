from pathlib import Path
from typing import Any

import pytest

from repic.models.export import export_policy
from repic.models.readers import readers
from tests import tiny

LORA = {"r": 4, "alpha": 8.0, "dropout": 0.0}


def told(folder: Path) -> dict[str, str]:
    return {reader.name: str(reader).removeprefix(f"{reader.name}: ") for reader in readers(folder)}


def test_what_the_library_writes_needs_an_export_for_transformers_4(tmp_path: Path) -> None:
    model = tiny.build_qwen(tmp_path / "model")
    before = told(model)
    assert before["transformers 5"] == "yes"
    assert before["transformers 4.57"].startswith("no: config.json has rope_parameters and no rope")
    assert before["vLLM"] == "yes; heads of 16 on a GPU alone"
    (exported := tmp_path / "exported").mkdir()
    export_policy(tiny.load(model), exported, sampling=tiny.sampling())
    assert told(exported) == before | {"transformers 4.57": "yes"}


def test_adapters_are_for_some(tmp_path: Path) -> None:
    model, adapters = tiny.build_qwen(tmp_path / "model"), tmp_path / "adapters"
    adapters.mkdir()
    policy = tiny.load(model, lora=LORA, export="adapter")
    export_policy(policy, adapters, sampling=tiny.sampling())
    found = told(adapters)
    assert found["vLLM"].startswith(f"yes; with the adapters' base, {model}")
    assert found["SGLang (not tried)"].startswith("no: its adapters name their matrices by a patt")
    tiny.rewrite_json(adapters / "adapter_config.json", r=1024)
    assert told(adapters)["vLLM"].startswith("no: adapters of rank 1024")


@pytest.mark.parametrize("change", [{"model_type": "mllama"}])
def test_a_family_that_nobody_has_looked_into_is_none_s(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    model = tiny.build_qwen(tmp_path / "model")
    tiny.rewrite_json(model / "config.json", **change)
    assert all(said.startswith("no: model_type 'mllama'") for said in told(model).values())
