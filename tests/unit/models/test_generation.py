import json
from pathlib import Path

from repic.models.generation import decoding, left_out
from tests import tiny

GREEDY = tiny.sampling(temperature=0.0)


def test_what_a_directory_asks_for_and_we_do_not_do_is_told(qwen: Path, tmp_path: Path) -> None:
    for file in qwen.iterdir():
        (tmp_path / file.name).symlink_to(file)
    assert left_out(tmp_path, GREEDY) == {}
    file = tmp_path / "generation_config.json"
    file.unlink()
    assert left_out(tmp_path, GREEDY) == {}
    penalty = {"repetition_penalty": 1.05, "eos_token_id": [1, 2], "max_new_tokens": 9}
    file.write_text(json.dumps({**penalty, "temperature": 0.7, "num_beams": 1}))
    assert left_out(tmp_path, GREEDY) == {"repetition_penalty": 1.05}
    file.write_text(json.dumps({**penalty, "temperature": 0.7, "do_sample": True}))
    assert left_out(tmp_path, GREEDY) == {"repetition_penalty": 1.05, "temperature": 0.7}
    drawn = tiny.sampling(temperature=0.7)
    assert left_out(tmp_path, drawn) == {"repetition_penalty": 1.05}
    file.write_text(json.dumps(decoding(drawn)))
    assert left_out(tmp_path, drawn) == {}
