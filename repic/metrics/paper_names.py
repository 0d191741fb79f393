"""Names by the rule of RePIC's released evaluation, kept as it is, flaws included.

https://github.com/oyt9306/RePIC at 4232d96, evaluation/eval_single_concept.py,
eval_multi_2_concept.py and eval_multi_4_concept.py. A name is said when one of the caption's
tokens (what white space leaves, less ``PUNCTUATION`` at its ends) is the name, with its brackets
or without. Each target of a caption has one outcome:

- its name, if it is said: a hit;
- ``MISS``, if it is not, but a name of the pool that is no target of this caption is: counts
  against precision;
- ``None``, if no such name is said.

So a wrong name beside a right one costs nothing, and "black widow" is never found: it is two
tokens. The pool is every target of the same file. What differs here:

1. The three scripts are one function, and what they differ in is a ``Variant``.
2. Recognition accuracy is ours: the released evaluation has none. A caption is right when the
   names said, read as above, are exactly its targets.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from repic.metrics.names import NameCounts

PUNCTUATION = ".,!?;:()[]{}\"'-"
END_MARK = "</s>"  # some published captions still have it
MISS = "MISS"


class Variant(NamedTuple):
    """What one of the released scripts does in its own way.

    Attributes:
        label: how tables call it.
        folds_case: whether case is ignored.
        is_single: whether only the first target of a caption counts, and others are told from
            it as it is read; else they are told from the targets as they are spelled.
    """

    label: str
    folds_case: bool
    is_single: bool

    def clean(self, name: str) -> str:
        """Return what a token must be to say a name: no brackets, and no case if it is ignored."""
        name = self.fold(name)
        return name[1:-1] if name.startswith("<") and name.endswith(">") else name

    def fold(self, text: str) -> str:
        """Take the case away, if it is ignored."""
        return text.lower() if self.folds_case else text


VARIANTS = {
    "single": Variant("single", folds_case=True, is_single=True),
    "two": Variant("2-concept", folds_case=False, is_single=False),
    "four": Variant("4-concept", folds_case=True, is_single=False),
}


def variant_for(targets: Iterable[Sequence[str]]) -> Variant:
    """Choose the script whose captions have as many targets; the last one takes any number.

    Example:
        >>> variant_for([["<bo>"], ["<mi>"]]).label, variant_for([["<bo>"], ["<bo>", "<mi>"]]).label
        ('single', '4-concept')
    """
    numbers = {len(names) for names in targets}
    if numbers == {1}:
        return VARIANTS["single"]
    return VARIANTS["two" if numbers == {2} else "four"]


@dataclass(frozen=True)
class PaperPool:
    """The names that a file's captions are searched for.

    Attributes:
        forms: token -> names (clean) that it says.
        spellings: name (clean) -> how targets spell it.
    """

    variant: Variant
    forms: Mapping[str, frozenset[str]]
    spellings: Mapping[str, frozenset[str]]


def paper_pool(targets: Iterable[Sequence[str]], variant: Variant) -> PaperPool:
    """Collect the pool from the targets of a file's captions."""
    forms: dict[str, set[str]] = {}
    spellings: dict[str, set[str]] = {}
    for name in {name for names in targets for name in _counted(names, variant)}:
        clean = variant.clean(name)
        spellings.setdefault(clean, set()).add(name)
        for form in (variant.fold(name), clean):
            forms.setdefault(form, set()).add(clean)
    return PaperPool(variant, _frozen(forms), _frozen(spellings))


def paper_outcomes(caption: str, targets: Sequence[str], pool: PaperPool) -> list[str | None]:
    """Return a hit (the clean name), ``MISS`` or None for every target that counts.

    Example:
        >>> pool = paper_pool([["<Anya>", "<Bond>"], ["<H>", "<J>"]], VARIANTS["two"])
        >>> paper_outcomes("<Anya> hugs Bond's friend, H.", ["<Anya>", "<Bond>"], pool)
        ['Anya', 'MISS']
    """
    said = _said(caption, pool)
    counted = _counted(targets, pool.variant)
    wanted = [pool.variant.clean(name) for name in counted]
    if pool.variant.is_single:
        has_other = any(name not in wanted for name in said)
    else:
        has_other = any(not pool.spellings[name] <= set(counted) for name in said)
    unsaid = MISS if has_other else None
    return [name if name in said else unsaid for name in wanted]


def count_paper_names(caption: str, targets: Sequence[str], pool: PaperPool) -> NameCounts:
    """Sum a caption's outcomes up; precision is hits / (hits + false), as everywhere.

    A target that is a ``MISS`` is both false and missed. A concept that is itself called MISS
    is never a hit, as in the released evaluation.

    Example:
        >>> pool = paper_pool([["<Anya>", "<Bond>"], ["<H>", "<J>"]], VARIANTS["two"])
        >>> count_paper_names("<Anya> hugs Bond's friend, H.", ["<Anya>", "<Bond>"], pool)
        NameCounts(exact=0, hits=1, false=1, missed=1)
    """
    outcomes = paper_outcomes(caption, targets, pool)
    hits = sum(outcome not in (None, MISS) for outcome in outcomes)
    wanted = {pool.variant.clean(name) for name in _counted(targets, pool.variant)}
    return NameCounts(
        exact=int(_said(caption, pool) == wanted),
        hits=hits,
        false=sum(outcome == MISS for outcome in outcomes),
        missed=len(outcomes) - hits,
    )


def _said(caption: str, pool: PaperPool) -> set[str]:
    text = pool.variant.fold(caption.replace(END_MARK, ""))
    tokens = {token.strip(PUNCTUATION) for token in text.split()}
    return {name for token in tokens for name in pool.forms.get(token, ()) if token}


def _counted(targets: Sequence[str], variant: Variant) -> Sequence[str]:
    return targets[:1] if variant.is_single else targets


def _frozen(table: Mapping[str, set[str]]) -> dict[str, frozenset[str]]:
    return {key: frozenset(values) for key, values in table.items()}
