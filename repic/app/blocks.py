"""What is on the page, and what its parts do; all that is kept is ``LiveAlbum``'s."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from repic.app.live import LiveAlbum
from repic.app.parts import (
    by_name,
    caption_html,
    friends_html,
    heading_html,
    note_html,
    picture_html,
)
from repic.app.server import address
from repic.captioners.photos import Captioned, PassedOver, as_people_write
from repic.data.album import Album
from repic.data.album_changes import LONGEST_INFO, checked_upload

log = logging.getLogger(__name__)

SHORTLIST = 8  # friends who can be said to be there with one click; others are in a list
PICTURES = ["image", ".heic", ".heif"]


@dataclass(frozen=True)
class Shown:
    """A photo with its caption, of which somebody may say what is right."""

    photo: Path
    told: Captioned


def album_page(live: LiveAlbum, uploads: Path) -> gr.Blocks:
    """The page of an album; it is served by ``repic.app.server``.

    Args:
        live: the album.
        uploads: where Gradio puts what is sent to it (its ``GRADIO_TEMP_DIR``).
    """
    title = live.root.absolute().name
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(600, 7200)) as page:
        gr.HTML(heading_html(title))
        with gr.Tab("Caption a photo"):
            _caption_tab(live, uploads)
        with gr.Tab("Friends") as tab:
            _friends_tab(live, uploads, tab, page)
    return page


def _caption_tab(live: LiveAlbum, uploads: Path) -> None:
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            photo = gr.File(label="Photo", file_types=PICTURES, height=150)
            with gr.Accordion("Take one with the camera", open=False):
                camera = gr.Image(
                    sources=["webcam"], type="filepath", image_mode=None, label="Camera"
                )
            again = gr.Button("Caption again", interactive=False)
        current = gr.State(None)
        panels = []
        for model in live.models:
            with gr.Column(scale=3, min_width=300):
                panels.append(Panel(live, uploads, model, has_title=len(live.models) > 1))
    for source, chosen in ((photo, photo.upload), (camera, camera.input)):
        name = "upload" if source is photo else "camera"
        chosen(_chosen, source, [current, again], api_name=f"choose_{name}", show_progress="hidden")
        for panel in panels:
            chosen(panel.caption, source, panel.outputs, api_name=name, show_progress="hidden")
    for panel in panels:
        again.click(panel.caption, current, panel.outputs, api_name="again", show_progress="hidden")


class Panel:
    """A photo with one model's caption, and what can be said of that.

    Args:
        live, uploads: see ``album_page``.
        model: who captions.
        has_title: whether it says which model that is.
    """

    def __init__(self, live: LiveAlbum, uploads: Path, model: str, *, has_title: bool) -> None:
        self.live, self.uploads, self.model = live, uploads, model
        if has_title:
            gr.HTML(note_html(model))
        self.picture = gr.HTML()
        self.caption_text = gr.HTML()
        self.note = gr.HTML()
        with gr.Column(visible=False) as self.corrections:
            self.wrong = gr.CheckboxGroup(label="Is a name wrong?")
            self.right = gr.CheckboxGroup(label="Is somebody else there?")
            self.others = gr.Dropdown(label="Somebody of the others", multiselect=True)
            with gr.Accordion("Write it yourself", open=False):
                self.words = gr.Textbox(label="What it should say", lines=3)
                save = gr.Button("Save these words")
        self.state = gr.State(None)
        self.outputs: list[Any] = [
            self.picture,
            self.caption_text,
            self.corrections,
            self.wrong,
            self.right,
            self.others,
            self.words,
            self.note,
            self.state,
        ]
        said: list[Any] = [self.state, self.wrong, self.right, self.others]
        after: list[Any] = [self.picture, self.caption_text, self.words, self.note]
        for part, name in ((self.wrong, "wrong"), (self.right, "right"), (self.others, "others")):
            part.input(self.correct, said, after, api_name=name, show_progress="hidden")
        words: list[Any] = [self.state, self.words]
        save.click(self.rewrite, words, after, api_name="words", show_progress="hidden")

    def caption(self, path: str | None) -> Iterator[dict[Any, Any]]:
        """Show a photo, its caption as it is written, and what can be said of it."""
        if path is None:
            yield {self.note: note_html("Choose a photo first.", is_problem=True)}
            return
        live = self.live
        yield {
            self.picture: "",
            self.caption_text: "",
            self.corrections: gr.Column(visible=False),
            self.note: "",
            self.state: None,
        }
        try:
            photo = _uploaded(path, self.uploads)
            checked_upload(photo, live.largest)
            yield {
                self.picture: picture_html(photo, live.largest, {}, "your photo"),
                self.caption_text: caption_html(live.album(), "", is_going=True),
            }
            for said in live.caption(self.model, photo):
                if isinstance(said, str):
                    yield {self.caption_text: caption_html(live.album(), said, is_going=True)}
                elif isinstance(said, PassedOver):
                    raise ValueError(f"{photo.name}: {said.problem}")
                else:
                    yield self._shown(live.album(), Shown(photo, said))
        except ValueError as error:
            yield {self.caption_text: "", self.note: _problem(error)}

    def _shown(self, album: Album, shown: Shown) -> dict[Any, Any]:
        told = shown.told
        introduced = [name for name in told.introduced if f"<{name}>" in album.by_name]
        everybody = dict.fromkeys([*introduced, *(f.name[1:-1] for f in by_name(album))])
        missing = [name for name in everybody if name not in told.names]
        first, rest = missing[:SHORTLIST], missing[SHORTLIST:]
        wrong = [(f"That is not {name}", f"<{name}>") for name in told.names]
        right = [(f"This is {name}", f"<{name}>") for name in first]
        return {
            self.picture: picture_html(shown.photo, self.live.largest, told.boxes, told.caption),
            self.caption_text: caption_html(album, told.caption, note=_note(told)),
            self.corrections: gr.Column(visible=True),
            self.wrong: gr.CheckboxGroup(choices=wrong, value=[], visible=bool(wrong)),
            self.right: gr.CheckboxGroup(choices=right, value=[], visible=bool(right)),
            self.others: gr.Dropdown(
                choices=[(name, f"<{name}>") for name in rest], value=[], visible=bool(rest)
            ),
            self.words: told.caption,
            self.state: shown,
        }

    def correct(
        self,
        shown: Shown | None,
        wrong: Sequence[str],
        right: Sequence[str],
        others: Sequence[str],
    ) -> dict[Any, Any]:
        """Keep who is not in the photo and who is."""
        return self._corrected(shown, wrong=wrong, right=[*right, *others])

    def rewrite(self, shown: Shown | None, words: str) -> dict[Any, Any]:
        """Keep a caption in somebody's own words."""
        return self._corrected(shown, words=words)

    def _corrected(self, shown: Shown | None, **said: Any) -> dict[Any, Any]:
        if shown is None:
            return {self.note: note_html("Caption a photo first.", is_problem=True)}
        try:
            made = self.live.correct(shown.photo, shown.told, **said)
            album = self.live.album()
            caption, names = as_people_write(made.caption, album.by_name, album.lexicon())
            boxes = {name: box for name, box in shown.told.boxes.items() if name in names}
            picture = picture_html(shown.photo, self.live.largest, boxes, caption)
        except (ValueError, OSError) as error:
            return {self.note: _problem(error)}
        whom = ", ".join(names) or "nobody of your friends"
        return {
            self.picture: picture,
            self.caption_text: caption_html(album, caption),
            self.words: caption,
            self.note: note_html(f"Saved: this photo shows {whom}."),
        }


def _friends_tab(live: LiveAlbum, uploads: Path, tab: gr.Tab, page: gr.Blocks) -> None:
    everybody = gr.HTML()
    with gr.Row():
        with gr.Column(min_width=280):
            gr.HTML(heading_html("Add a friend", level=2))
            name = gr.Textbox(label="Name", max_lines=1)
            info = gr.Textbox(
                label="A sentence about them, if you like",
                placeholder="a black cat with one ear",
                max_length=LONGEST_INFO,
            )
            photos = gr.File(label="Photos", file_types=PICTURES, file_count="multiple", height=150)
            add = gr.Button("Add", variant="primary")
            added = gr.HTML()
        with gr.Column(min_width=280):
            gr.HTML(heading_html("Delete a friend", level=2))
            whom = gr.Dropdown(label="Who", value=None)
            delete = gr.Button("Delete …", variant="stop")
            with gr.Column(visible=False) as sure:
                question = gr.HTML()
                with gr.Row():
                    yes = gr.Button("Delete", variant="stop")
                    no = gr.Button("Keep")
            deleted = gr.HTML()

    def listed() -> dict[Any, Any]:
        try:
            album = live.album()
        except ValueError as error:  # somebody has put something into the folder
            return {everybody: _problem(error)}
        choices = [(friend.name[1:-1], friend.name) for friend in by_name(album)]
        return {
            everybody: friends_html(album, address),
            whom: gr.Dropdown(choices=choices, value=None),
        }

    def add_friend(name: str, info: str, photos: Sequence[str] | None) -> dict[Any, Any]:
        try:
            chosen = [_uploaded(path, uploads) for path in photos or ()]
            friend = live.add(name, info, chosen)
        except (ValueError, OSError) as error:
            return {added: _problem(error)}
        for path in chosen:
            path.unlink(missing_ok=True)  # the album has them
        done = note_html(f"{friend.name[1:-1]} is in the album.")
        return {**listed(), **_cleared(fields), added: done, deleted: ""}

    def ask(name: str | None) -> dict[Any, Any]:
        if name is None:
            return {deleted: note_html("Choose somebody first.", is_problem=True)}
        words = (
            f"Delete {name[1:-1]}, with all photos, captions and corrections that name them? This"
            " cannot be undone."
        )
        return {question: note_html(words), sure: gr.Column(visible=True), deleted: ""}

    def remove(name: str | None) -> dict[Any, Any]:
        try:
            live.remove(name or "<>")
        except (ValueError, OSError) as error:
            return {**listed(), deleted: _problem(error), sure: gr.Column(visible=False)}
        done = note_html(f"{(name or '')[1:-1]} is deleted, and nothing of them is kept.")
        return {**listed(), deleted: done, added: "", sure: gr.Column(visible=False)}

    fields: list[Any] = [name, info, photos]
    lists: list[Any] = [everybody, whom]
    quiet: dict[str, Any] = {"show_progress": "hidden"}
    page.load(listed, None, lists, api_name="friends", **quiet)
    tab.select(listed, None, lists, api_visibility="private", **quiet)
    after: list[Any] = [*lists, *fields, added, deleted]
    add.click(add_friend, fields, after, api_name="add", **quiet)
    info.submit(add_friend, fields, after, api_visibility="private", **quiet)
    delete.click(ask, whom, [question, sure, deleted], api_name="ask", **quiet)
    yes.click(remove, whom, [*lists, deleted, added, sure], api_name="delete", **quiet)
    no.click(lambda: gr.Column(visible=False), None, sure, api_visibility="private", **quiet)


def _note(told: Captioned) -> str:
    """What there is to know of a caption."""
    shown = (
        name + ("" if alike is None else f" ({alike:.2f})")
        for name, alike in told.introduced.items()
    )
    parts = ["The model was shown " + ", ".join(shown)] if told.introduced else []
    parts += ["It had no room for " + ", ".join(told.left_out)] if told.left_out else []
    parts += [] if told.finished else ["The caption was cut at the longest length"]
    return "".join(f"{part}. " for part in parts).rstrip()


def _uploaded(path: str, uploads: Path) -> Path:
    """What has been sent here, and no other file of this machine that a request may name.

    Raises:
        ValueError: it is another.
    """
    if not Path(path).resolve().is_relative_to(uploads.resolve()):
        raise ValueError("this photo was not sent here; choose it again")
    return Path(path)


def _chosen(path: str | None) -> tuple[str | None, gr.Button]:
    """The photo that "Caption again" is about, and that button, which can be pressed now."""
    return path, gr.Button(interactive=True)


def _cleared(fields: Sequence[Any]) -> dict[Any, Any]:
    return {part: None if isinstance(part, gr.File) else "" for part in fields}


def _problem(error: Exception) -> str:
    return note_html(str(error), is_problem=True)
