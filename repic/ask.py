"""Ask something about your own photos: ``python -m repic.ask album photo.jpg "Is Bo here?"``.

The last word is the question; all else is as for ``repic.caption``. An answer is kept as a caption
is, and given again without the model as long as nothing that decides it has changed.
"""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from repic import files
from repic.caption import arguments, captions_folder, checked, photo_captioner, quoted, tell
from repic.run import guarded

USAGE = 'name an album, photos and a question: python -m repic.ask album photo.jpg "Is Bo here?"'


@hydra.main(version_base="1.3", config_path="pkg://repic.conf", config_name="caption")
def job(cfg: DictConfig) -> None:
    """Ask about photos."""
    from repic.data.album import pictures_in, read_album
    from repic.data.clips import FILMS
    from repic.data.images import PICTURES

    with checked(cfg, USAGE):
        if cfg.question is None:
            raise ValueError(USAGE)
        album = read_album(Path(cfg.album), largest=cfg.data.largest)
        folder = captions_folder(cfg)
        photos = list(pictures_in(map(Path, cfg.photos), kinds=PICTURES | FILMS))
        with files.only_one(folder / ".lock", wanted=True):
            answers = [tell(a) for a in photo_captioner(cfg, album, folder).caption(photos)]
        if not any(answers):
            raise ValueError(f"none of {len(photos)} photos could be asked about; see above")


def main() -> None:
    """Run from the command line."""
    places = [i for i, word in enumerate(sys.argv) if i and word[:1] != "-" and "=" not in word]
    if len(places) > 2:
        sys.argv[places[-1]] = f"question={quoted(sys.argv[places[-1]])}"
    sys.argv[1:] = arguments(sys.argv[1:])
    again = "the same command goes on"
    guarded(job, "repic.ask", config="caption", kept="what was answered is kept", after=again)


if __name__ == "__main__":
    main()
