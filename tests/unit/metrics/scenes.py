"""Scenes of the toybox for tests, and captions of them that are wrong in a known way."""

from dataclasses import replace

from hypothesis import strategies as st

from repic.toybox.world import BACKGROUNDS, VALUES
from repic.types import Mention, Scene

PLACES = ("left", "middle", "right")

LOOKS = st.fixed_dictionaries(
    {
        **{slot: st.sampled_from(values) for slot, values in VALUES.items()},
        "position": st.sampled_from(PLACES),
    }
)


@st.composite
def scenes(draw: st.DrawFn, most: int = 4) -> Scene:
    """Toys that all differ, some of whom have a name."""
    looks = draw(
        st.lists(LOOKS, min_size=1, max_size=most, unique_by=lambda look: tuple(look.items())[:5])
    )
    names = draw(st.permutations(["<bo>", "<mi>", "<zu>", "<ta>", *[None] * len(looks)]))
    mentions = (Mention(look, name) for look, name in zip(looks, names, strict=False))
    return Scene(tuple(mentions), draw(st.sampled_from(BACKGROUNDS)))


def renamed(scene: Scene, name: str) -> Scene:
    """The scene with another name for everybody who has one."""
    return replace(scene, mentions=tuple(replace(m, name=m.name and name) for m in scene.mentions))


def say(scene: Scene) -> str:
    """A caption of what a scene holds, whatever is missing in it."""
    sentences = [f"{_describe(mention)}." for mention in scene.mentions]
    if scene.background:
        sentences.append(f"On a {scene.background}.")
    return " ".join(sentences)


def _describe(mention: Mention) -> str:
    a = mention.attributes
    words = ["A", a.get("pattern"), a.get("colour"), a["species"]]
    if "accessory" in a:
        words += ["with a", a["accessory_colour"], a["accessory"]]
    if mention.name:
        words[-1:] = [f"{words[-1]},", mention.name]
    if "position" in a:
        words += ["sits on the", a["position"]]
    return " ".join(word for word in words if word)
