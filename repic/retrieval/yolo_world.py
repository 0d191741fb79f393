"""Boxes by YOLO-World (https://arxiv.org/abs/2401.17270), the detector that RePIC retrieves with.

It comes with the package ultralytics, whose licence is AGPL-3.0: read it before you build on it.
What to look for is read by OpenAI's CLIP (ViT-B/32), whose package ultralytics would install from
GitHub by itself in the middle of a run: it must be there before. Its weights are downloaded.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from repic.types import Box
from repic.values import ShareBelow1, Text

KEY = "retrieval.proposer.weights"
_CLIP = "git+https://github.com/ultralytics/CLIP.git"


class YoloWorldRegions:
    """Boxes of the kinds of things that the album holds, best first.

    Args:
        weights: a file; or a name such as yolov8x-worldv2.pt, which ultralytics downloads to where
            the command is started from.
        confidence: boxes below it are not looked at; from 0 to 1.
        kinds: what to look for; None: the album's kinds, as RePIC does.
    """

    def __init__(
        self, *, weights: Text, confidence: ShareBelow1, kinds: Sequence[Text] | None
    ) -> None:
        try:
            self._library = importlib.import_module("ultralytics")
        except ImportError:
            raise ValueError(
                "retrieval=yolo_world_clip: ultralytics is not installed (its licence is AGPL-3.0);"
                " pip install 'repic[yolo]', or look with another detector:"
                " retrieval=open_vocabulary_clip"
            ) from None
        if importlib.util.find_spec("clip") is None:
            raise ValueError(
                "retrieval=yolo_world_clip: CLIP, which reads YOLO-World's words, is not installed;"
                f" pip install {_CLIP}"
            )
        if Path(weights).name != weights and not Path(weights).is_file():
            raise ValueError(f"{KEY}: there is no file {weights}; put it there, or mend the path")
        self.weights, self.confidence = weights, confidence
        self.kinds = None if kinds is None else tuple(kinds)
        self._looked_for: tuple[str, ...] = ()

    def __call__(self, picture: Image.Image, looked_for: Sequence[str]) -> list[Box]:
        """Return the boxes of what is looked for."""
        kinds = tuple(dict.fromkeys(looked_for)) if self.kinds is None else self.kinds
        if not kinds:
            raise ValueError(
                "retrieval.proposer.kinds: the album does not say what to look for; list it"
            )
        if kinds != self._looked_for:
            self._model.set_classes(list(kinds))
            self._looked_for = kinds
        (found,) = self._model.predict(source=picture, conf=self.confidence, verbose=False)
        return [Box(*corners) for corners in found.boxes.xyxy.tolist()]

    @cached_property
    def _model(self) -> Any:
        try:
            return self._library.YOLOWorld(self.weights)
        except OSError as error:  # no network, or no such release
            raise ValueError(
                f"{KEY}: {self.weights} is not here, and cannot be downloaded"
                f" ({' '.join(str(error).split())}); download it elsewhere and give its path"
            ) from error
