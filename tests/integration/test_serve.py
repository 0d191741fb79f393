"""The command that serves: what it says, and what it starts."""

import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from repic import serve
from repic.models.directory import find_model
from repic.models.export import export_policy
from tests import tiny

TINY = find_model("package://repic/models/tiny")


def composed(*overrides: str) -> Any:
    with initialize_config_module("repic.conf", version_base="1.3"):
        return compose("serve", overrides=list(overrides))


def start(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["repic.serve", *arguments])
    here = os.getcwd()
    try:
        serve.main()
    except SystemExit as end:
        return end.code
    finally:
        os.chdir(here)
    return 0


def test_it_says_who_can_read_a_checkpoint(monkeypatch, capfd) -> None:
    assert start(monkeypatch, str(TINY), "check=true") == 0
    said = capfd.readouterr().out
    assert "transformers 5: yes" in said
    assert "vLLM: yes" in said
    assert start(monkeypatch, str(TINY), "server=vllm") == 1
    assert "pip install -r requirements-vllm.lock" in capfd.readouterr().err
    assert start(monkeypatch) == 1
    assert "name a model's directory" in capfd.readouterr().err


def test_what_stands_behind_an_option_is_no_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--cfg", "job", "there"], ["--config-dir", str(tmp_path), "there", "--cfg=job"]):
        start(monkeypatch, *words)
        assert "path: there\n" in capsys.readouterr().out


def test_vllm_is_told_what_a_trainer_needs() -> None:
    words = serve.vllm_command(composed("rollouts=true", "context=2048"), TINY, "/venv/python")
    assert words[:5] == [
        *("/venv/python", "-m", "vllm.entrypoints.openai.api_server", "--model"),
        str(TINY),
    ]
    told = dict(pairwise(words))
    assert told["--max-model-len"] == "2048"
    assert told["--max-lora-rank"] == "64"
    assert told["--host"] == "127.0.0.1"
    assert serve.vllm_environment(rollouts=True)["VLLM_SERVER_DEV_MODE"] == "1"
    # Whoever is let in may change weights and run methods: not where nobody asked for it.
    assert "VLLM_SERVER_DEV_MODE" not in serve.vllm_environment(rollouts=False)
    assert "--enable-lora" not in serve.vllm_command(composed(), TINY, "/venv/python")


def test_adapters_are_served_beside_their_base(tmp_path: Path) -> None:
    base, adapters = tiny.build_qwen(tmp_path / "base"), tmp_path / "adapters"
    adapters.mkdir()
    lora = {"r": 4, "alpha": 8.0, "dropout": 0.0}
    policy = tiny.load(base, lora=lora, export="adapter")
    export_policy(policy, adapters, sampling=tiny.sampling())
    words = serve.vllm_command(composed("name=toys"), adapters, "python")
    assert str(base) in words
    assert f"toys={adapters}" in words
    assert "--enable-lora" in words
