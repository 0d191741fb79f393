"""Pictures with EXIF of random fields, and with random damage: a picture, or a sentence.

python -m tests.campaigns.pictures [--exif 1000] [--damaged 1000] [--seed 0]
"""

import argparse
import io
import random
import struct
import sys
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from PIL import Image

from repic.data.images import FileImage
from tests.campaigns.harness import Tried, apart, attempt, report

FORMATS = ("jpeg", "png", "gif", "webp", "bmp", "tiff", "ppm", "jpeg2000", "avif")
_TAGS = (0x0112, 0x011A, 0x0100, 0x8769, 0x8825, 0xA005, 0x927C, 0x0201, 0x0202, 0x9286, 0xC4A5)


def random_exif(rng: random.Random) -> bytes:
    """A header in TIFF's layout whose fields, types, lengths and offsets are random."""
    order = rng.choice("<>")
    size = rng.choice([0, 8, 60, 400])
    parts = [b"II*\0" if order == "<" else b"MM\0*", struct.pack(f"{order}I", _offset(rng))]
    for _ in range(rng.randrange(1, 4)):  # directories, of which each may point to any
        count = rng.randrange(6)
        parts.append(struct.pack(f"{order}H", rng.choice([count, count, 0xFFFF])))
        for _ in range(count):
            tag = rng.choice([*_TAGS, rng.randrange(1 << 16)])
            kind = rng.choice([*range(1, 14), rng.randrange(1 << 16)])
            length = rng.choice([0, 1, 1, 2, 9, 1 << 31])
            value = rng.choice([rng.randrange(10), _offset(rng), rng.randrange(1 << 32)])
            parts.append(struct.pack(f"{order}HHII", tag, kind, length, value))
        parts.append(struct.pack(f"{order}I", _offset(rng)))
    content = b"".join(parts) + rng.randbytes(size)
    if rng.random() < 0.2:
        content = content[: rng.randrange(len(content))]
    return content if rng.random() < 0.9 else rng.randbytes(rng.randrange(200))


def _offset(rng: random.Random) -> int:
    return rng.choice([0, 8, 8, 8, 22, 26, 38, rng.randrange(300), 0xFFFFFFFF])


def with_exif(rng: random.Random) -> tuple[str, bytes]:
    """A small picture with such a header; the format's name, and the file."""
    kind = rng.choice(["jpeg", "png", "webp"])
    out = io.BytesIO()
    exif = random_exif(rng)
    prefix = b"Exif\0\0" if kind == "jpeg" or rng.random() < 0.3 else b""
    Image.new("RGB", (12, 8), "teal").save(out, kind, exif=prefix + exif)
    return kind, out.getvalue()


@cache
def sound(kind: str) -> bytes:
    picture = Image.frombytes("RGB", (40, 30), random.Random(kind).randbytes(40 * 30 * 3))
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    having = {} if kind in ("gif", "bmp", "ppm") else {"exif": exif}
    picture.save(out, kind, **having)
    return out.getvalue()


def damaged(rng: random.Random) -> tuple[str, bytes]:
    """A picture with bytes changed, cut, doubled, zeroed or taken from elsewhere."""
    kind = rng.choice(FORMATS)
    content = bytearray(sound(kind))
    for _ in range(rng.randrange(1, 8)):
        place = rng.randrange(len(content))
        if rng.random() < 0.5:  # near the beginning, where formats say how large all is
            place %= 64
        run = rng.choice([1, 1, 1, 4, 40])
        content[place : place + run] = (
            rng.choice([rng.randbytes(run), b"\xff" * run, b"\0" * run, b"", content[:run] * 2])
            or b"\0"
        )
    if rng.random() < 0.2:
        del content[rng.randrange(1, len(content)) :]
    return kind, bytes(content)


def special() -> Iterator[tuple[str, bytes]]:
    """Pictures that are small, and large when they are opened; and one that is a program."""

    def chunk(name: bytes, data: bytes) -> bytes:
        head = struct.pack(">I", len(data)) + name + data
        return head + struct.pack(">I", zlib.crc32(name + data))

    for side in (20_000, 100_000, 2**31 - 1):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        rows = chunk(b"IDAT", zlib.compress(bytes(10_000_000)))
        yield f"png of {side}", b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b"")
    words = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(30_000_000)))
    whole = sound("png")
    yield "png with a long word", whole[:33] + words * 40 + whole[33:]
    yield "ppm of gigabytes", b"P6\n60000 60000\n255\n" + bytes(100)
    yield "ppm of no number", b"P6\n" + b"9" * 5_000 + b" 9\n255\n"
    yield "gif of 65535", b"GIF89a\xff\xff\xff\xff" + sound("gif")[10:]
    yield "eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch ran) (w) file\n"


def attempt_picture(path: Path) -> tuple[str, str]:
    def read() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert FileImage(path).load().mode == "RGB"

    return attempt(read, names=str(path), told=(ValueError,))


def tried(num_exif: int, num_damaged: int, seed: int) -> Iterator[Tried]:
    rng = random.Random(seed)
    contents = [("exif", *with_exif(rng)) for _ in range(num_exif)]
    contents += [("damaged", *damaged(rng)) for _ in range(num_damaged)]
    contents += [("special", name, content) for name, content in special()]
    with tempfile.TemporaryDirectory() as folder:
        for number, (why, kind, content) in enumerate(contents):
            path = Path(folder) / f"{number}.{kind.partition(' ')[0]}"
            path.write_bytes(content)
            end, said = apart(partial(attempt_picture, path))
            yield Tried(f"{why} {number} ({kind})", end, said, may_not_pass=False)
            path.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--exif", type=int, default=1000)
    parser.add_argument("--damaged", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return report(tried(options.exif, options.damaged, options.seed))


if __name__ == "__main__":
    sys.exit(main())
