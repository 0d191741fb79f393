"""The words that occur in the toybox, for a tokenizer that is built for it."""

import re

from repic.toybox.grammar import PLACES, SETTINGS, describe, write_captions
from repic.toybox.world import (
    ACCESSORIES,
    ACCESSORY_COLOURS,
    BACKGROUNDS,
    COLOURS,
    PATTERNS,
    SPECIES,
)
from repic.types import Mention, Scene

# What prompts and chats say around it; a word at the start of a line has no space before it.
FRAME = (
    "system\nuser\nassistant\nYou are a helpful assistant. 1. Info: an orange bear. Name: <.\n"
    "Who is who?\nIs this?\nWhere is?\nDescribe this toy.\nDescribe this picture.\n"
    "Who is in this picture?\nWhat do you see in this picture?\nIntroduce everyone.\nyes\nno"
)


def words() -> list[str]:
    """Every word, with its leading space where it has one; and the opening bracket of names."""
    texts = [FRAME]
    for group in (SPECIES, COLOURS, PATTERNS, ACCESSORIES, ACCESSORY_COLOURS, BACKGROUNDS):
        texts += [f" {word}" for word in group]
    bear = {
        "species": "bear",
        "colour": "red",
        "pattern": "plain",
        "accessory": "hat",
        "accessory_colour": "blue",
    }
    texts.append(describe(bear))
    for background in SETTINGS:
        mentions = tuple(Mention({**bear, "position": place}, "<bo>") for place in PLACES)
        texts += write_captions(Scene(mentions, background))
    found = re.findall(r"[ -]?[A-Za-z]+| <", "\n".join(re.sub(r"<\w+>", "<", t) for t in texts))
    return sorted(dict.fromkeys(found))
