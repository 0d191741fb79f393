r"""Draw the README's picture: a prompt's references, its scene, and captions before and after RL.

python examples/picture.py outputs/quickstart/default/seed_0 \
    toybox/0/test/caption/3/22 docs/example.png
"""

import json
import re
import sys
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from repic.assembly import saved_examples
from repic.types import Example

WIDTH, MARGIN, FACE, SCENE = 760, 16, 120, 300  # pixels
INK, GREY, GREEN, RED = "#1f2328", "#59636e", "#1a7f37", "#cf222e"


def find_example(folder: Path, wanted: str) -> Example:
    """The example of a finished run that has the given id."""
    for example in saved_examples(folder, scale=3.0):
        if example.id == wanted:
            return example
    raise SystemExit(f"{folder}: no scene is called {wanted}")


def captions_of(folder: Path, wanted: str) -> dict[str, str]:
    """What each model of the run says of the scene, by phase."""
    with (folder / "predictions.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return {row["phase"]: row["caption"] for row in rows if row["id"] == wanted}


def write_words(draw: ImageDraw.ImageDraw, x: int, y: int, text: str, present: set[str]) -> int:
    """Write a caption with its right names green and its wrong ones red; return where it ends."""
    font = ImageFont.load_default(15)
    for line in textwrap.wrap(text, 58):
        left = float(x)
        for part in re.split(r"(<\w+>)", line):
            is_name = part.startswith("<")
            colour = INK if not is_name else GREEN if part in present else RED
            draw.text((left, y), part, colour, font)
            left += draw.textlength(part, font)
        y += 20
    return y


def draw_picture(example: Example, captions: dict[str, str]) -> Image.Image:
    """References in a row, below them the scene beside its captions."""
    page = Image.new("RGB", (WIDTH, 2 * MARGIN + FACE + 60 + SCENE), "white")
    draw = ImageDraw.Draw(page)
    bold, small = ImageFont.load_default(16), ImageFont.load_default(12)
    x = MARGIN
    for reference in example.references:
        if reference.image is not None:
            face = reference.image.load().resize((FACE, FACE), Image.Resampling.LANCZOS)
            page.paste(face, (x, MARGIN))
        else:
            info = "\n".join(textwrap.wrap(reference.info or "", 18))
            draw.rectangle((x, MARGIN, x + FACE, MARGIN + FACE), outline=GREY)
            draw.text((x + 8, MARGIN + 8), info, GREY, small)
        draw.text((x, MARGIN + FACE + 4), reference.name, INK, bold)
        x += FACE + MARGIN
    top = MARGIN + FACE + 48
    assert example.query is not None
    scene = example.query.load()
    height = round(scene.height * SCENE / scene.width)
    page.paste(scene.resize((SCENE, height), Image.Resampling.LANCZOS), (MARGIN, top))
    x, y = MARGIN + SCENE + MARGIN, top
    for phase, label in (("sft", "after SFT"), ("grpo", "after SFT + RL")):
        draw.text((x, y), label, GREY, bold)
        y = write_words(draw, x, y + 24, captions[phase], set(example.present))
        left_out = [name for name in example.present if name not in captions[phase]]
        if left_out:
            draw.text((x, y), f"left out: {', '.join(left_out)}", RED, ImageFont.load_default(15))
        y += 34
    return page.crop((0, 0, WIDTH, max(top + height, y) + MARGIN))


if __name__ == "__main__":
    run, scene_id, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    picture = draw_picture(find_example(run, scene_id), captions_of(run, scene_id))
    picture.quantize(128, dither=Image.Dither.NONE).save(out, optimize=True)
