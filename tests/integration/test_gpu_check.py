"""Everything of the GPU check up to the kernels, at a size that a CPU takes in seconds."""

import ast
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from repic import files
from repic.bench import gpu_check
from repic.models.engine.plain import PlainEngine
from tests.unit.test_layering import imports_of

ROOT = Path(__file__).parents[2]

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
    first, greedy, second, _, skipped = found("correctness", tmp_path)
    assert first["packed_from_plain"] < 1e-4
    assert first["plain_from_library"] < 1e-4
    assert 0 < first["gradient_apart"] < 1e-4
    assert (greedy["engine"], greedy["dtype"]) == ("packed", "float32")
    assert greedy["greedy_as_plain"] == greedy["greedy_as_generate"] == 1
    assert (second["dtype"], second["attention"]) == ("bfloat16", "sdpa")
    assert 0 < second["packed_from_plain"] < 0.2
    assert skipped["attention"] == "flash_attention_2"
    assert "skipped" in skipped


def test_a_step_is_taken_apart(tmp_path: Path) -> None:
    size, warm, plain_warm, packed, plain = found("step", tmp_path)
    assert size["prompt_tokens"] == 20
    assert [warm["round"], plain_warm["round"], packed["round"], plain["round"]] == [0, 0, 1, 1]
    assert [packed["engine"], plain["engine"]] == ["packed", "plain"]
    parts = ("rollout_s", "reference_s", "update_s", "optimizer_s")
    assert sum(packed[part] for part in parts) == pytest.approx(packed["step_s"], rel=0.1)
    assert packed["decode_tokens_per_s"] == pytest.approx(6 / packed["decode_s"])


def test_an_engine_that_fails_is_left_out_and_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: PlainEngine, *_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(PlainEngine, "draw", full)
    _, *rows = found("step", tmp_path)
    assert [(row["engine"], row.get("failed")) for row in rows] == [
        ("packed", None),
        ("plain", "OutOfMemoryError: CUDA out of memory"),
        ("packed", None),
    ]


def test_memory_is_predicted(tmp_path: Path) -> None:
    rows = {row.pop("of"): row for row in found("prediction", tmp_path)}
    assert rows["update peak"]["counted"] > 0
    assert list(rows["rollout peak"]) == ["part", "arithmetic"]


def test_the_toybox_is_learnt_from(tmp_path: Path) -> None:
    assert found("toybox", tmp_path)[-1]["steps"] == 1


def test_a_part_has_its_time(tmp_path: Path) -> None:
    arguments, log = ["--part", "toybox", "--device", "cpu", "--out", str(tmp_path)], tmp_path / "x"
    assert gpu_check.run_process(arguments, 0.01, log) == "not done after 0.01 s"
    assert "--part: invalid choice" in gpu_check.run_process(["--part", "none"], 60, log)
    assert sum(gpu_check.LIMITS.values()) <= 520  # and nine minutes are 540


@pytest.mark.parametrize("said", ["", "not done after 5 s"])
def test_what_failed_is_named_and_is_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    gpu_check.note(tmp_path, "step", failed="in an earlier check")
    answers = dict.fromkeys(gpu_check.LIMITS, "") | {"step": said}

    def run(arguments: list[str], limit: float, log: Path) -> str:
        assert arguments[-2] == "--part"
        assert limit == gpu_check.LIMITS[arguments[-1]]
        return answers.pop(arguments[-1])

    monkeypatch.setattr(gpu_check, "run_process", run)
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--out", str(tmp_path)])
    if said:
        with pytest.raises(
            SystemExit, match=r"failed in part or whole: step; why stands in .*ck.j"
        ):
            gpu_check.main()
    else:
        gpu_check.main()
    assert not answers


def test_it_needs_no_package_that_a_machine_for_training_lacks() -> None:
    needed: set[str] = set()
    names, seen = ["repic.bench.gpu_check"], set()
    while names:
        path = ROOT / f"{(module := names.pop()).replace('.', '/')}.py"
        path = path if path.exists() else path.with_suffix("") / "__init__.py"
        if module in seen or not path.exists():  # or is no module, but something in one
            continue
        seen.add(module)
        late = set() if module == "repic.bench.gpu_check" else late_lines(path)
        for line, name in imports_of(path, module):
            if not name.startswith("repic."):
                needed.add(name.split(".")[0])
            elif line not in late:
                names += [name, name.rpartition(".")[0]]
    there = "torch transformers peft PIL regex safetensors jaxtyping filelock jinja2 yaml".split()
    there += ["huggingface_hub", "numpy"]
    there += ["annotated_types", "pydantic"]  # something stands in for them
    assert needed - sys.stdlib_module_names <= {*there}
    assert len(seen) > 30


def late_lines(path: Path) -> set[int]:
    """Lines inside functions, which run when they are called."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [x for x in ast.walk(tree) if isinstance(x, ast.FunctionDef)]
    return {line for x in functions for line in range(x.lineno, (x.end_lineno or 0) + 1)}


@pytest.mark.parametrize("is_left_empty", [False, True])
def test_values_are_read_without_what_checks_them(
    is_left_empty: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_left_empty:  # as where it was uninstalled
        (tmp_path / "annotated_types").mkdir()
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        monkeypatch.delitem(sys.modules, "annotated_types")
    else:
        monkeypatch.setitem(sys.modules, "annotated_types", None)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    monkeypatch.setattr(files, "as_shape", files.as_shape)
    gpu_check.stand_in()
    assert files.as_shape(dict[str, str], {"a": "b"}, "a.json") == {"a": "b"}
    spec: Any = importlib.util.spec_from_file_location("repic.values", ROOT / "repic/values.py")
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again.Number.__metadata__ == (None, None)
    assert not hasattr(sys.modules["annotated_types"], "__file__")
