"""Ask something about your own photos: ``python -m repic.ask album photo.jpg "Is Bo here?"``.

The last word is the question, unless ``question=`` says it; all else is as for ``repic.caption``.
An answer is kept as a caption is, and given again without the model as long as nothing that decides
it has changed.
"""

import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from repic import files
from repic.caption import (
    arguments,
    captions_folder,
    checked,
    kinds_of,
    photo_captioner,
    photos_of,
    quoted,
    tell,
)
from repic.run import guarded

USAGE = 'name an album, photos and a question: python -m repic.ask album photo.jpg "Is Bo here?"'


@hydra.main(version_base="1.3", config_path="pkg://repic.conf", config_name="caption")
def job(cfg: DictConfig) -> None:
    """Ask about photos."""
    from repic.data.album import read_album

    with checked(cfg, USAGE):
        if cfg.question is None:
            raise ValueError(USAGE)
        if cfg.watch:
            raise ValueError("watch: photos are asked about once; repic.caption waits for others")
        album = read_album(Path(cfg.album), largest=cfg.data.largest)
        folder, photos = captions_folder(cfg), photos_of(cfg)
        with files.only_one(folder / ".lock", wanted=True):
            answers = [tell(a) for a in photo_captioner(cfg, album, folder).caption(photos)]
        if not any(answers):
            raise ValueError(f"none of {len(photos)} photos could be asked about; see above")


def main() -> None:
    """Run from the command line."""
    words = sys.argv[1:]
    places = [place for place, kind in enumerate(kinds_of(words)) if kind == "place"]
    is_said = any(word.startswith("question=") for word in words)
    if len(places) > 2 and not is_said and not os.path.exists(words[places[-1]]):
        words[places[-1]] = f"question={quoted(words[places[-1]])}"
    sys.argv[1:] = arguments(words)
    again = "the same command goes on"
    guarded(job, "repic.ask", config="caption", kept="what was answered is kept", after=again)


if __name__ == "__main__":
    main()
