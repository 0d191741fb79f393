"""A step of a model as large as Qwen2.5-VL-3B, on a CPU. By hand: REPIC_FULL_SIZE=<a folder>.

The folder wants 8 GB of disk for random weights, which are made once and stay there. It takes
some ten minutes of one core, and less than 12 GB of memory.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoTokenizer

from repic import files
from repic.bench.paper import model_config
from repic.models.directory import ADAPTER, is_adapter
from tests import tiny
from tests.counting import PAPER
from tests.integration.small import rows_of, summary_of

FOLDER = os.environ.get("REPIC_FULL_SIZE")
SHARD = 2**29  # numbers in a file
STEP = ("method=rl", "model=qwen2_5_vl_3b", "model.export=adapter", "model.lora.dropout=0")
STEP += ("method.evaluated=[grpo]", "concepts=one", "metrics.counts=[1]", "trainer.num_workers=0")
STEP += ("phase.grpo.iterations=1", "phase.grpo.prompts=1", "phase.grpo.group_size=2")
STEP += ("phase.grpo.sampling.max_new_tokens=8", "phase.evaluate.sampling.max_new_tokens=8")
STEP += ("data.rules.absent=[0,0]", "data.rules.drop_info=1", "data.rules.strangers=[0,0]")
STEP += ("phase.evaluate.per_count=1", "data.reward_corpus.dataset.size=20", "name=full")
STEP += ("reward.own=tests.integration.small.letters:1.0", "guards=none")


def write_weights(config: Any, folder: Path) -> None:
    """Write random weights in bfloat16, one file after another."""
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    index = {}
    for number, part in enumerate(parts(model)):
        file = f"model-{number:05}.safetensors"
        save_file({name: draw(place) for name, place in part}, folder / file, {"format": "pt"})
        index |= {name: file for name, _ in part}
    listed = {"metadata": {}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(listed))


def parts(model: Any) -> Iterator[list[tuple[str, Tensor]]]:
    part: list[tuple[str, Tensor]] = []
    for name, place in model.named_parameters():
        if part and sum(p.numel() for _, p in part) + place.numel() > SHARD:
            yield part
            part = []
        part.append((name, place))
    yield part


def draw(place: Tensor) -> Tensor:
    if place.dim() == 1:
        return torch.ones(place.shape, dtype=place.dtype)
    return torch.empty(place.shape, dtype=place.dtype).normal_(0, 0.02)


def word(number: int) -> str:
    """A word of its own for every number, with four letters."""
    return "=" + "".join(chr(ord("a") + number // 26**place % 26) for place in range(4))


def build(folder: Path) -> None:
    """Lay out a model of the 3B model's dimensions, with a word for every token it may draw."""
    small = tiny.build_qwen(folder / "small")
    dimensions = deepcopy(PAPER["models"]["qwen2_5_vl_3b"])
    content = json.loads((small / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    numbers = range(len(vocabulary), dimensions["text_config"]["vocab_size"])
    vocabulary |= {word(number): number for number in numbers}
    (small / "tokenizer.json").write_text(json.dumps(content))
    tokenizer: Any = AutoTokenizer.from_pretrained(small)
    assert len(tokenizer) == dimensions["text_config"]["vocab_size"]
    tokenizer.save_pretrained(folder)
    processor = json.loads((small / "preprocessor_config.json").read_text())
    processor |= {"patch_size": 14, "size": {"shortest_edge": 3136, "longest_edge": 1003520}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    dimensions["text_config"] |= {"rope_parameters": rope, "bos_token_id": None, **ends}
    named = {f"{kind}_token_id": f"<|{kind}_pad|>" for kind in ("image", "video")}
    named |= {f"vision_{end}_token_id": f"<|vision_{end}|>" for end in ("start", "end")}
    ids = {key: tokenizer.convert_tokens_to_ids(token) for key, token in named.items()}
    config = model_config({**dimensions, **ids})
    config.save_pretrained(folder)
    rmtree(small)
    write_weights(config, folder)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(FOLDER is None, reason="REPIC_FULL_SIZE names no folder with 8 GB of room")
def test_a_step_of_3b_fits_into_the_memory_of_a_laptop(tmp_path: Path) -> None:
    model = Path(FOLDER or "") / "qwen2_5_vl_3b"
    if not model.exists():
        files.write_folder(model, build)
    given = [*STEP, f"model.path={model}", f"outputs={tmp_path}"]
    process = subprocess.Popen([sys.executable, "-m", "repic.run", *given])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    print(f"peak {usage.ru_maxrss / 2**20:.2f} GiB, {usage.ru_utime + usage.ru_stime:.0f} CPU s")
    assert usage.ru_maxrss * 1024 < 12e9
    (run,) = (tmp_path / "full").glob("*/seed_0")
    (row,) = rows_of(run)
    assert row["grpo/sampler_gap"] < 0.05
    assert row["grpo/grad_norm"] > 0
    trained = run / "checkpoints" / "grpo"
    assert is_adapter(trained)
    assert not list(trained.glob("model*.safetensors"))
    ups = [value for name, value in load_file(trained / ADAPTER).items() if ".lora_B." in name]
    assert len(ups) == 36 * 7
    assert all(value.any() for value in ups)
    assert summary_of(run)["metrics"].keys() == {"grpo"}
