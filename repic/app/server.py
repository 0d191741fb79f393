"""The page behind a door: who may ask, what a browser may load, friends' small pictures."""

from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

import fastapi
import gradio as gr
from gradio.themes import Base, Default
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from repic import files
from repic.app.live import LiveAlbum
from repic.app.parts import CSS, thumbnail
from repic.data.album import Friend
from repic.data.album_changes import LARGEST_UPLOAD
from repic.values import LOOPBACK

# Nothing is loaded from elsewhere, and no other page may show this one.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self'"
    " 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self'"
    " data:; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
RED = "#b91c1c"


class Door:
    """Lets requests in that come from this page alone.

    A page of another site that is open in the same browser may send requests here, too, and by a
    name of its own that leads to this machine read the answers: their headers say so.

    Args:
        app: what is behind.
        is_public: whether it is served under names that are not known here.
    """

    def __init__(self, app: ASGIApp, *, is_public: bool) -> None:
        self.app, self.is_public = app, is_public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        if (why := self.refusal(sent)) is not None:
            await fastapi.responses.PlainTextResponse(why, 403)(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        await self.app(scope, receive, answer)

    def refusal(self, sent: dict[str, str]) -> str | None:
        """Why a request with such headers is not let in."""
        host = sent.get("host", "")
        if not self.is_public and urlsplit(f"//{host}").hostname not in LOOPBACK:
            return f"this page is for this machine alone, and not served as {host}"
        if "origin" in sent and urlsplit(sent["origin"]).netloc != host:
            return f"this page answers no other, such as {sent['origin']}"
        return None


def serving(blocks: gr.Blocks, live: LiveAlbum, *, is_public: bool) -> Any:
    """An ASGI application.

    Args:
        blocks: the page.
        live: the album.
        is_public: see ``Door``.
    """
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/friend/{key}")
    def picture(key: str) -> fastapi.Response:
        friend = next((f for f in live.album().friends if f.folder.name == key), None)
        data = _thumbnail(friend, _stamp(friend)) if friend is not None else b""
        headers = {"cache-control": "no-store"}  # who is deleted is in no browser's cache
        if not data:
            return fastapi.Response(status_code=404, headers=headers)
        return fastapi.Response(data, media_type="image/webp", headers=headers)

    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,  # which browsers would keep, deleted friends and all
        show_error=True,
        max_file_size=LARGEST_UPLOAD,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        theme=_theme(),
        css=CSS,
    )
    # Until it is told so, Gradio takes any file of this machine that a request names for an upload.
    blocks.has_launched = True
    for block in blocks.blocks.values():
        _refuse_addresses(block)
    return Door(app, is_public=is_public)


def _refuse_addresses(block: Any) -> None:
    """Do not fetch what a request names in the place of an upload by an address of the net."""
    move = block.async_move_resource_to_block_cache

    async def moved(place: Any) -> Any:
        if "://" in str(place):
            raise ValueError("a photo is sent here, and not fetched")
        return await move(place)

    block.async_move_resource_to_block_cache = moved


def _theme() -> Base:
    """The system's fonts, and buttons whose words have a contrast of 4.5 and more."""
    theme = Default(
        primary_hue="green",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    dark = {"button_primary_background_fill": "*primary_700", "button_cancel_background_fill": RED}
    return theme.set(
        **dark,
        **{f"{key}_dark": value for key, value in dark.items()},
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        button_cancel_background_fill_hover="#991b1b",
        button_cancel_background_fill_hover_dark="#991b1b",
        button_cancel_text_color="white",
        button_cancel_text_color_dark="white",
    )


def address(friend: Friend) -> str:
    """Where a friend's small picture is served; another one, where it has changed."""
    version = "-".join(map(str, _stamp(friend)))
    return f"friend/{quote(friend.folder.name, safe='')}?{version}"


def forget_pictures() -> None:
    """Drop what is held in memory."""
    _thumbnail.cache_clear()


@lru_cache(maxsize=1024)
def _thumbnail(friend: Friend, stamp: tuple[int, ...]) -> bytes:
    return thumbnail(friend)


def _stamp(friend: Friend) -> tuple[int, ...]:
    return files.stamp(friend.photos[0].path) if friend.photos else ()
