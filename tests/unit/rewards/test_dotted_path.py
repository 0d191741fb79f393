from pathlib import Path

import pytest

from repic.rewards.dotted_path import import_function

MODULE = """
import math
def polite(completions, examples): ...
class Judge:
    @staticmethod
    def fair(completions, examples): ...
level = 3
"""


@pytest.fixture(autouse=True)
def _own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "rewards.py").write_text(MODULE)
    (package / "needy.py").write_text("import own_missing\n")
    (package / "needy_inside.py").write_text("import own_package.gone\n")
    (package / "broken.py").write_text("1 / 0\n")
    # A submodule that has the name of a function in its package.
    (tmp_path / "own_twin").mkdir()
    (tmp_path / "own_twin" / "__init__.py").write_text("def same(): return 1")
    (tmp_path / "own_twin" / "same.py").write_text("")
    (package / "quits.py").write_text("import sys\nsys.exit(0)\n")
    (package / "odd.py").write_text("def odd(:\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("path", ["own_package.rewards.polite", "own_package.rewards.Judge.fair"])
def test_functions_are_found(path: str) -> None:
    assert import_function(path, "here").__qualname__ in path


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("polite", r"'polite' is no dotted path, such as my_rewards\.politeness"),
        ("own_package/rewards.py", "is no dotted path"),
        ("own_package..polite", "is no dotted path"),
        ("own_nowhere.polite", r"there is no module own_nowhere, .* folder, /"),
        ("own_package.reward.polite", r"module own_package \(.*__init__\.py\) has no reward"),
        ("own_package.rewards.politeness", r"module own_package\.rewards .* did you mean polite\?"),
        ("own_package.rewards.xyz", r"has no xyz; it has math, polite, Judge, level"),
        ("own_package.rewards.Judge.fare", r"type .*Judge.* has no fare; did you mean fair\?"),
        ("own_package.rewards.polite.now", "function polite has no now; it has nothing"),
        ("own_package.rewards.level", r"own_package\.rewards\.level is a int, not a function"),
        ("own_package.quits.f", r"importing own_package\.quits failed: SystemExit: 0"),
        (
            "own_package.needy.f",
            r"own_package\.needy failed: ModuleNotFoundError: No module named 'own_missing'",
        ),
        (
            "own_package.needy_inside.f",
            "failed: ModuleNotFoundError: No module named 'own_package.gone'",
        ),
        ("own_package.broken.f", r"importing own_package\.broken failed: ZeroDivisionError"),
        ("own_package.rewards", "own_package.rewards is a module, not a function"),
        ("own_package.odd.f", r"importing own_package\.odd failed: SyntaxError"),
    ],
)
def test_how_far_a_path_leads_is_said(path: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        import_function(path, "judge")
    assert str(caught.value).startswith("judge ")
    assert path in str(caught.value)


def test_what_a_package_holds_goes_before_its_files() -> None:
    assert import_function("own_twin.same", "here")() == 1
