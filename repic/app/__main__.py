"""A page for your album, on this machine: ``python -m repic.app album``.

Add a friend, drop a photo or take one, read the caption, and say what is right: corrections are
kept in the album, and ``data=folder`` learns from them. All else is as for ``repic.caption``, whose
captions are these.
"""

import logging
import os
import shutil
import socket
import sys
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, cast

import hydra
from annotated_types import Ge, Le
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from repic import files
from repic.assembly import MaybeText, check_values, make, quieten
from repic.caption import READ as READ_CAPTION
from repic.caption import (
    arguments,
    captions_folder,
    claim,
    make_retriever,
    model_captioner,
    photo_captioner,
    question_of,
    refuse_outputs_in_album,
)
from repic.errors import not_served
from repic.run import guarded
from repic.values import LOOPBACK, Text

log = logging.getLogger(__name__)

UNREAD = ("photos", "watch", "page")  # of repic.caption's keys
READ = {k: v for k, v in READ_CAPTION.items() if k not in UNREAD}
OWN = {"host": Text, "port": Annotated[int, Ge(0), Le(65535)], "other": MaybeText}


@hydra.main(version_base="1.3", config_path="pkg://repic.conf", config_name="app")
def job(cfg: DictConfig) -> None:
    """Serve the page until Ctrl-C."""
    hydra_cfg = HydraConfig.get()
    os.chdir(hydra_cfg.runtime.cwd)
    if OmegaConf.is_missing(cfg, "album"):
        raise ValueError("name an album: python -m repic.app album")
    if not OmegaConf.is_missing(cfg, "photos"):
        raise ValueError("takes an album alone; photos are chosen on the page")
    quieten()
    check_values(cfg, hydra_cfg.overrides.task, read=READ | OWN)
    refuse_outputs_in_album(cfg)
    serve(cfg)


def serve(cfg: DictConfig) -> None:
    """Serve the page until the process is told to end.

    Raises:
        ValueError: the port is taken, or the album or a model cannot be read.
    """
    door = bind(cfg.host, cfg.port)
    port = door.getsockname()[1]
    live = live_album(cfg)
    live.album()  # what is wrong with it is told now
    uploads = live.folder / "uploads" / str(port)  # the port is this server's, and so the folder
    shutil.rmtree(uploads, ignore_errors=True)
    uploads.mkdir(parents=True)
    # Before Gradio is imported: it writes uploads there, and tells nobody about its use.
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.absolute())
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    if find_spec("gradio") is None:
        raise ValueError("the page needs packages: pip install 'repic[app]'")
    import uvicorn

    from repic.app.blocks import album_page
    from repic.app.server import serving

    app = serving(album_page(live, uploads), live, is_public=cfg.host not in LOOPBACK)
    shown = "127.0.0.1" if cfg.host in ("0.0.0.0", "::") else cfg.host
    print(f"{live.root.name}: http://{shown}:{port}  (Ctrl-C ends it)", flush=True)
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=2)
    try:
        uvicorn.Server(config).run(sockets=[door])
    finally:
        shutil.rmtree(uploads, ignore_errors=True)


def bind(host: str, port: int) -> socket.socket:
    """A socket on a port that nobody else has."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of a server that has just ended
    try:
        door.bind((host, port))
        door.listen()
    except OSError as error:
        door.close()
        raise not_served(host, port, error) from None
    return door


def live_album(cfg: DictConfig) -> Any:
    """The album with all models that caption; they are loaded when they are first asked."""
    from repic.app.live import LiveAlbum

    root = Path(cfg.album)
    if not root.exists():
        log.info("%s is new", root)
    claim(folder := captions_folder(cfg), root)
    asked = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in OWN])
    asked.photos = [cfg.album]  # ``repic.caption``'s, which checks them again with the model
    makers = [Maker(asked, folder)]
    if cfg.other is not None:
        other = OmegaConf.merge(asked, {"model": {"path": cfg.other}})
        makers.append(Maker(cast(DictConfig, other), folder))

    def forget() -> None:
        from repic.app.server import forget_pictures

        forget_pictures()
        for maker in makers:
            maker.retriever = None
        for upload in (folder / "uploads").glob("*/*"):
            shutil.rmtree(upload, ignore_errors=True)

    return LiveAlbum(
        root,
        folder=folder,
        models={str(maker.cfg.model.path): maker for maker in makers},
        question=partial(question_of, cfg),
        largest=cfg.data.largest,
        forget=forget,
    )


@dataclass
class Maker:
    """Makes a model's captioner anew when the album has changed, and loads the model once."""

    cfg: DictConfig
    folder: Path
    retriever: Any = None
    models: dict[str, Any] = field(default_factory=dict)

    def __call__(self, album: Any) -> Any:
        """See ``photo_captioner``."""
        said = files.hash_file(album.root / "album.yaml")  # words prompts, and the model has those

        def captioner() -> Any:
            if said not in self.models:
                prompt = album.prompt or make(self.cfg.data.prompt)
                self.models = {said: model_captioner(self.cfg, str(self.cfg.model.path), prompt)}
            return self.models[said]

        def retriever() -> Any:
            self.retriever = self.retriever or make_retriever(self.cfg)
            return self.retriever

        parts = {"captioner": captioner, "retriever": retriever if self.cfg.retrieval else None}
        return photo_captioner(self.cfg, album, self.folder, **parts)


def main() -> None:
    """Run from the command line."""
    sys.argv[1:] = arguments(sys.argv[1:])
    kept = "friends, captions and corrections are kept"
    guarded(job, "repic.app", config="app", kept=kept, after="the same command serves them again")


if __name__ == "__main__":
    main()
