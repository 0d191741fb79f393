"""The words in which a judge is asked: Jinja files in ``conf/judge/``, or the user's own.

Values come from captions that a model writes, and a model in training writes whatever pays. So
the files show them by the filter ``quote``, as a JSON string: no caption can end its own quotation.
"""

import functools
import importlib.resources
import json
from pathlib import Path

from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.exceptions import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from repic.files import refuse_large
from repic.values import Text

# What each prompt is given, and must use: a file that never shows the caption asks about nothing.
VARIABLES = {
    "claims": {"caption"},
    "verify": {"claims"},
    "coverage": {"caption", "units"},
    "language": {"caption", "low", "high"},
    "prefer": {"first", "second", "names", "references"},
    "personal": {"first", "second", "names", "infos"},
    "facts": {"caption"},
    "match": {"facts", "oracle"},
    "check": {"facts", "known"},
    "quiz": {"caption", "question", "options"},
}
_MAY_BE_LEFT_OUT = {"names", "references", "infos", "known"}


class Prompts:
    """The prompts by name, each from a file.

    Args (each the name of a file in ``conf/judge/``, or the absolute path of another):
        claims: takes a ``caption`` apart into claims.
        verify: which of the numbered ``claims`` does the picture show?
        coverage: which of the numbered ``units`` does the ``caption`` say?
        language: how well is the ``caption`` written, on a scale from ``low`` to ``high``?
        prefer: which of two captions, ``first`` (A) or ``second`` (B), describes the picture, in
            which beings of these ``names`` are, and which people describe by these
            ``references``, better?
        personal: which of two captions is the better personalized one, for somebody who knows
            those with these ``names``, of whom the ``infos`` tell?
        facts: takes a ``caption`` apart into facts, and says which of them tell what is to be seen.
        match: which of the numbered facts ``oracle`` says the same as each of the ``facts``?
        check: which of the numbered ``facts`` are right, given the picture and what is ``known``
            of names?
        quiz: which of the lettered ``options`` answers the ``question``, by the ``caption`` alone?

    A file that is missing, is no Jinja, uses a variable that it is not given, or does not use
    one that it is given, is a ``ValueError`` naming the file.
    """

    def __init__(self, **files: Text) -> None:
        if set(files) != set(VARIABLES):
            wrong = sorted(set(files) ^ set(VARIABLES))[0]
            what = "is missing" if wrong in VARIABLES else "is no prompt"
            raise ValueError(f"judge.prompts.{wrong}: {what}; there are {', '.join(VARIABLES)}")
        self._files = files
        self._templates = {
            name: _compile(name, file, _read(name, file)) for name, file in files.items()
        }

    def render(self, name: str, **values: object) -> str:
        """Fill in one prompt."""
        try:
            return self._templates[name].render(values)
        except TemplateError as error:
            raise ValueError(f"{self._files[name]}: {error}") from error


@functools.cache  # many judges ask in the same words
def _compile(name: str, file: str, source: str) -> Template:
    """Compile a file; what it uses is compared with what it is given."""
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["quote"] = quote
    given = VARIABLES[name]
    try:
        used = meta.find_undeclared_variables(environment.parse(source))
        template = environment.from_string(source)
    except TemplateSyntaxError as error:
        raise ValueError(f"{file}, line {error.lineno}: {error.message}") from error
    except TemplateError as error:  # an unknown filter, say
        raise ValueError(f"{file}: {error}") from error
    if strange := sorted(used - given):
        raise ValueError(
            f"{file}: {strange[0]!r} is not given; there is {', '.join(sorted(given))}"
        )
    if unused := sorted(given - used - _MAY_BE_LEFT_OUT):
        raise ValueError(f"{file}: never uses {unused[0]!r}, and so asks about nothing")
    return template


def _read(name: str, file: str) -> str:
    is_own = Path(file).is_absolute()
    # As a resource, so that it is found wherever the package is installed.
    place = (
        Path(file) if is_own else importlib.resources.files("repic.conf").joinpath("judge", file)
    )
    try:
        if isinstance(place, Path):
            refuse_large(place)
        return place.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"judge.prompts.{name}: {file} cannot be read ({error}); it has to be a file in"
            " conf/judge/, or the absolute path of one"
        ) from None


def quote(value: str) -> str:
    r"""Write a text as a JSON string, readable in any language.

    >>> print(quote('a "cute" cat, <bo>'))
    "a \"cute\" cat, <bo>"
    """
    return json.dumps(value, ensure_ascii=False)
