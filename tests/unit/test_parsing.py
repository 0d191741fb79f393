import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.parsing import (
    find_names,
    find_times,
    mentions_name,
    parse_box,
    parse_yes_no,
    tokenize_caption,
    without_names,
)
from repic.types import Box


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("A bear, <bo>, and <mi>.", ["<bo>", "<mi>"]),
        ("<bo><bo>", ["<bo>", "<bo>"]),  # repeats are kept
        ("<Bo> <black widow> <Sø-ren's>", ["<Bo>", "<black widow>", "<Sø-ren's>"]),
        ("</bo>", ["</bo>"]),  # nobody's name, but a name that was said
        ("<bo <mi>", ["<mi>"]),
        ("<bo, bo>", ["<bo, bo>"]),
        ("<<bo>> <bo>> <<bo>", []),  # broken brackets name no one
        ("<> < >", ["< >"]),
        ("<bo\n>", []),
        ("bo", []),
    ],
)
def test_find_names(text: str, names: list[str]) -> None:
    assert find_names(text) == names


@given(st.lists(st.text(alphabet="abc ", min_size=1).map("<{}>".format)))
def test_find_names_gives_back_what_was_written(names: list[str]) -> None:
    assert find_names(" and ".join(names)) == names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("here is <bo>.", True),
        ("here is bo.", True),
        ("bo's hat", True),
        ("Bo", False),
        ("<Bo>", False),
        ("bobo", False),
        ("</bo>", False),
        ("<bo", False),
        ("bo>", False),
        ("</bo", False),
        ("<bo mi>", False),  # another name that contains it
        ("<mi bo su>", False),
        ("</bo> but bo too", True),
        ("", False),
    ],
)
def test_mentions_name(text: str, expected: bool) -> None:
    assert mentions_name(text, "<bo>") is expected


def test_mentions_name_of_several_words() -> None:
    assert mentions_name("the black  widow waits", "<black widow>")
    assert not mentions_name("a black cat and a widow", "<black widow>")
    assert mentions_name("meet mr. krab (here)", "<mr. krab>")
    assert not mentions_name("meet mrs krab", "<mr. krab>")  # a dot is a dot


def test_marks_are_letters_of_their_word() -> None:
    assert tokenize_caption("Zoe\u0308’s hat") == ["zoe\u0308’s", "hat"]
    assert tokenize_caption("नेहा बैठी है।") == ["नेहा", "बैठी", "है"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes.", "yes"),
        ("It is NOT so: no, yes", "no"),
        ("yesterday, nobody knew", None),
        ("", None),
    ],
)
def test_parse_yes_no(text: str, answer: str | None) -> None:
    assert parse_yes_no(text) == answer


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("[1,2,3,4]", Box(1, 2, 3, 4)),
        ("at [ 1.5 , -2,3 ,4 ] or [5,6,7,8]", Box(1.5, -2, 3, 4)),
        ("[1,2,3] then [1,2,3,4,5] then [9,8,7,6]", Box(9, 8, 7, 6)),
        ("(1,2,3,4)", None),
        ("[1,2,3,x]", None),
        (f"[{'9' * 400},2,3,4]", None),  # would be infinite
        ("", None),
    ],
)
def test_parse_box(text: str, box: Box | None) -> None:
    assert parse_box(text) == box


INF = float("inf")


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("", []),
        ("at 1 s and 3.5 s", [(1, 1), (3.5, 3.5)]),
        ("From 1 s to 5 s, 0.5 to 2 seconds", [(1, 5), (0.5, 2)]),
        ("3 s - 4 s, 3–4 sec.", [(3, 4), (3, 4)]),
        ("between 2 and 4 s, and 6 s until 8 s", [(2, 4), (6, 8)]),
        ("from 1 s. Since 2 s, till 3 s, From 4 s to 5 s", [(1, INF), (2, INF), (0, 3), (4, 5)]),
        ("2 and 4 s", [(4, 4)]),  # a number alone is no time
        ("3 bears sit, 12 sheep, 1.5 seconds", [(1.5, 1.5)]),
        ("1234567 s", []),
    ],
)
def test_find_times(text: str, times: list[tuple[float, float]]) -> None:
    found = find_times(text)
    assert [(time.begin, time.end) for time in found] == times
    assert all(text[time.start : time.stop].strip()[-1] not in " ," for time in found)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        (
            "A two-toned Cat, <Mi Mi>, sits.",
            ["a", "two-toned", "cat", "<Mi Mi>", "sits"],
        ),
        ("isn't isn’t - 'quoted'", ["isn't", "isn’t", "quoted"]),
        ("</bo> <<bo>>", ["</bo>", "bo"]),
        ("42 Ärger!", ["42", "ärger"]),
    ],
)
def test_tokenize_caption(text: str, tokens: list[str]) -> None:
    assert tokenize_caption(text) == tokens


@given(st.text())
def test_every_parser_reads_any_text(text: str) -> None:
    assert [t for t in tokenize_caption(text) if t.startswith("<")] == find_names(text)
    assert all(mentions_name(text, name) for name in find_names(text))
    assert parse_yes_no(text) in (None, "yes", "no")
    parse_box(text)
    find_times(text)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("小白在草地上睡觉。", "<小白>", True),
        ("照片里，小白和一只猫在玩。", "<小白>", True),
        ("白色的狗", "<白>", False),
        ("タマは寝ている", "<タマ>", True),
        ("タマゴを食べる", "<タマ>", False),
        ("ในภาพมานีกำลังวิ่ง", "<มานี>", True),
        ("မောင်သည်", "<မော>", False),
        ("O’Brien waves", "<O'Brien>", True),
        ("<OʼBrien> waves", "<O'Brien>", True),
        ("O’Brien waves", "<O>", False),
        ("Zoe\u0308 smiles", "<Zoë>", True),
        ("Zoë smiles", "<Zo>", False),
        ("*bo*, _bo_", "<bo>", True),
        ("_bo_", "<bo>", True),
        ("bo_2 x_bo un-bo bo-peep", "<bo>", False),
        ("a 🐶 barks", "<🐶>", True),
    ],
)
def test_names_in_any_script_and_spelling(text: str, name: str, expected: bool) -> None:
    assert mentions_name(text, name) is expected


def test_a_known_name_is_found_in_its_own_spelling() -> None:
    text = "<O’Brien>, <Zoe\u0308> and <o’brien>"
    assert find_names(text, ["<O'Brien>", "<Zoë>"]) == ["<O'Brien>", "<Zoë>", "<o’brien>"]
    assert find_names("<O'Brien>", ["<O’Brien>"]) == ["<O’Brien>"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A bear, <zaza>, sits.", "a bear sits"),  # whoever it is
        ("<bo>'s hat and <bo>’s scarf", "hat and scarf"),
        ("Bo the bear, bo-peep and a bow", "bo the bear bo-peep and a bow"),  # case, whole words
        ("bo’s hat, bo and (bo)", "hat and"),
        ("Mi Mi waves to Mi", "waves to"),  # the longer name first
        ("</bo> and <<bo>>", "and bo"),  # broken brackets name no one
        ("小白在草地上", "在草地上"),
    ],
)
def test_without_names(text: str, words: str) -> None:
    left = without_names(text, ["<bo>", "<Mi>", "<Mi Mi>", "<小白>"])
    assert " ".join(tokenize_caption(left)) == words
