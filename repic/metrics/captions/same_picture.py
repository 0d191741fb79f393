"""Find for each caption another system's caption of the same picture."""

from collections import Counter
from collections.abc import Hashable, Sequence

from repic.metrics.captions.metric import CaptionKey


def partners(ours: Sequence[CaptionKey], theirs: Sequence[CaptionKey]) -> list[int | None]:
    """Return for each of ours the place among theirs of the caption of the same thing, or None.

    The same are image and names. Where one system has several captions of these, the prompt has
    to be the same as well; elsewhere it may differ, as systems are often asked in other words.

    Raises:
        ValueError: a system has two captions of the same image, names and prompt.
    """
    counts = (Counter(map(_short, keys)) for keys in (ours, theirs))
    repeated = {short for counted in counts for short, number in counted.items() if number > 1}
    places: dict[Hashable, int] = {}
    for whose, keys in (("the captions", ours), ("the others", theirs)):
        places = {}
        for place, key in enumerate(keys):
            if places.setdefault(_full(key, repeated), place) != place:
                names = ", ".join(key.names) or "-"
                raise ValueError(
                    f"{whose}: two are of image {key.image!r} with names {names}"
                    f" and prompt {(key.prompt or '')[:60]!r}; remove one of them"
                )
    return [places.get(_full(key, repeated)) for key in ours]


def _short(key: CaptionKey) -> Hashable:
    return key.image, frozenset(key.names)


def _full(key: CaptionKey, repeated: set[Hashable]) -> Hashable:
    short = _short(key)
    return (short, key.prompt) if short in repeated else short
