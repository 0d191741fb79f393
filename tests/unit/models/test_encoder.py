from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from PIL import Image

from repic.models import images
from repic.models.encoder import PromptEncoder
from repic.models.families import concatenate
from tests import library, tiny, tiny_families
from tests.fakes import Noise, example, mixed_examples


def encoder(folder: Path, *, min_pixels=None, max_pixels=None) -> PromptEncoder:
    return PromptEncoder(
        str(folder), prompt=tiny.Prompt(), min_pixels=min_pixels, max_pixels=max_pixels
    )


@dataclass(frozen=True)
class Counted:
    """A picture that counts how often it is loaded."""

    key: str
    loads: list = field(default_factory=list, compare=False)

    def load(self) -> Image.Image:
        self.loads.append(self.key)
        return Noise(0).load()


@pytest.mark.parametrize("family", tiny_families.BUILDERS)
def test_each_family_has_the_inputs_of_its_library(family: str, tmp_path: Path) -> None:
    folder = tiny_families.BUILDERS[family](tmp_path)
    made = encoder(folder)
    for one in tiny_families.EXAMPLES:
        ours = made.library_inputs(made.prompts([one])[0])
        theirs = library.inputs(folder, [one])
        assert ours.keys() == theirs.keys()
        for name, expected in theirs.items():
            found = ours[name]
            if found.shape != expected.shape:  # tiles of all pictures in one row, without padding
                used = found.flatten(2).any(dim=2)
                found, expected = found[used], expected[0]
            assert torch.equal(found, expected), name


def test_bounds_on_pixels_are_those_of_the_library(qwen: Path, tmp_path: Path) -> None:
    folder = tiny.build_qwen(tmp_path / "model")
    size = {"shortest_edge": 28 * 28, "longest_edge": 42 * 42}
    tiny.rewrite_json(folder / "preprocessor_config.json", size=size)
    examples = [example("a", [Noise(0, 14, 14)], Noise(1, 80, 60))]
    ours = encoder(qwen, min_pixels=28 * 28, max_pixels=42 * 42).encode(examples)
    theirs = library.inputs(folder, examples)
    pixels, grids = concatenate(ours.images).values()
    assert grids.tolist() == [[1, 4, 4], [1, 4, 6]]
    assert torch.equal(pixels, theirs["pixel_values"])


def test_bounds_are_refused_where_pictures_have_one_size(llava: Path) -> None:
    with pytest.raises(ValueError, match="set both to null"):
        encoder(llava, max_pixels=100)


def test_padding_is_on_the_left_and_in_no_mask(directory: Path) -> None:
    batch = encoder(directory).encode(mixed_examples())
    lengths = batch.attention_mask.sum(dim=1)
    assert len(set(lengths.tolist())) == 3
    width = batch.input_ids.shape[1]
    for row, length in enumerate(lengths.tolist()):
        assert not batch.attention_mask[row, : width - length].any()
        assert not batch.image_mask[row, : width - length].any()
        assert not batch.position_ids[:, row, : width - length].any()


def test_a_batch_gives_each_prompt_what_it_gets_alone(directory: Path) -> None:
    encode = encoder(directory).encode
    batch = encode(mixed_examples())
    for row, one in enumerate(mixed_examples()):
        alone, mask = encode([one]), batch.attention_mask[row]
        assert torch.equal(batch.input_ids[row, mask], alone.input_ids[0])
        assert torch.equal(batch.position_ids[:, row, mask], alone.position_ids[:, 0])
        assert batch.next_position[row] == alone.next_position[0]
        assert batch.texts[row] == alone.texts[0]


def test_rows_share_the_pictures_that_are_the_same(qwen: Path) -> None:
    first = example("a", [Noise(1), Noise(2)], Noise(1))
    second = example("b", [Noise(2)], Noise(3, 56, 28))
    batch = encoder(qwen).encode([first, first, second])
    assert batch.image_index.tolist() == [0, 1, 0, 0, 1, 0, 1, 2]
    assert [image.size for image in batch.images] == [(2, 2), (2, 2), (2, 4)]


def test_text_alone_has_no_pictures(directory: Path) -> None:
    batch = encoder(directory).encode([example("a"), example("b", question="Why?")])
    assert batch.images == ()
    assert not batch.image_mask.any()
    assert batch.next_position.tolist() == batch.attention_mask.sum(dim=1).tolist()


def test_pictures_are_prepared_once(qwen: Path) -> None:
    encode = encoder(qwen).encode
    picture = Counted("a")
    encode([example("a", [picture], picture)])
    encode([example("b", [picture])])
    assert picture.loads == ["a"]


def test_the_cache_is_bounded_and_keeps_what_was_used_last(
    qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = encoder(qwen).encode
    a, b, c = (Counted(key) for key in "abc")
    one = encode([example("x", [a])]).images[0].num_bytes
    monkeypatch.setattr(images, "_CACHE_BYTES", 2 * one)
    for picture in (b, a, c):  # c takes b's place, as a was used after b
        encode([example("x", [picture])])
    encode([example("x", [a])])
    encode([example("x", [b])])
    assert (len(a.loads), len(b.loads), len(c.loads)) == (1, 2, 1)


def test_answers_end_with_the_end_token(directory: Path) -> None:
    encode = encoder(directory)
    (ids,) = encode.encode_answers(["a red bear, <bo>"])
    assert ids[-1] == encode.end_id
    assert encode.end_id not in ids[:-1]
    assert encode.decode(ids) == "a red bear, <bo>"
    assert encode.tokenizer.bos_token_id not in ids.tolist()


def test_the_first_token_comes_once(llava: Path, tmp_path: Path) -> None:
    folder = tiny.build_llava(tmp_path)
    (folder / "chat_template.jinja").write_text("<s>" + tiny.LLAVA_CHAT)
    for directory in (folder, llava):
        (ids,) = encoder(directory).encode([example("a")]).input_ids.tolist()
        assert ids[0] == 1
        assert ids.count(1) == 1


def test_a_placeholder_in_the_text_is_refused(qwen: Path) -> None:
    bad = example("bad", question="what is <|image_pad|>?")
    with pytest.raises(ValueError, match="example bad: the prompt has 1 image placeholders for 0"):
        encoder(qwen).encode([example("good"), bad])


def test_a_prompt_longer_than_the_context_is_refused(llava: Path) -> None:
    with pytest.raises(ValueError, match=r"example long: .* takes 512; lower model.max_pixels"):
        encoder(llava).encode([example("long", question="why? " * 600)])


def test_an_impossible_picture_is_named(qwen: Path) -> None:
    with pytest.raises(
        ValueError, match=r"noise:0:1000x2: .* cannot prepare it \(absolute aspect ratio"
    ):
        encoder(qwen).encode([example("a", [Noise(0, 1000, 2)])])


def test_a_corrupt_picture_keeps_its_own_message(qwen: Path) -> None:
    @dataclass(frozen=True)
    class Broken:
        key: str = "broken.jpg"

        def load(self) -> Image.Image:
            raise ValueError("broken.jpg is not a picture")

    with pytest.raises(ValueError, match="is not a picture"):
        encoder(qwen).encode([example("a", [Broken()])])


def test_a_template_of_its_own_file_comes_first(tmp_path: Path) -> None:
    folder = tiny.build_qwen(tmp_path)
    (folder / "chat_template.json").write_text('{"chat_template": "old{{ messages[0].role }}"}')
    (folder / "chat_template.jinja").write_text("new{{ messages[0].role }}")
    assert encoder(folder).encode([example("a")]).texts == ("newuser",)
    (folder / "chat_template.jinja").unlink()
    assert encoder(folder).encode([example("a")]).texts == ("olduser",)


def test_moving_keeps_everything(qwen: Path) -> None:
    batch = encoder(qwen).encode(mixed_examples())
    moved = batch.to("meta")
    assert moved.input_ids.is_meta
    assert not moved.image_index.is_meta  # asked by Python, which would wait for a GPU
    assert moved.texts == batch.texts
