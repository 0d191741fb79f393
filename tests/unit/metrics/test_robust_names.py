import random

import pytest

from repic.metrics.robust_names import Lexicon, count_robust_names

POOL = (
    "<bo>",
    "<Bond>",
    "<T>",
    "<black widow>",
    "<captain>",
    "<captain america>",
    "<quick silver>",
    "<ironman>",
    "<mr.krab>",
    "<Baby_Q>",
    "<brown-duck>",
    "<SpongeBob>",
    "<ana>",
    "<o'neil>",
    "<café>",
)


@pytest.mark.parametrize(
    ("caption", "said"),
    [
        ("<bo> sits; BO runs", {"bo"}),
        ("bo's hat, Bond’s car", {"bo", "bond"}),
        ("<bo's> hat and <Bo>'s scarf", {"bo"}),
        ("< bo > waves", {"bo"}),
        ("bow, boa, bo_2, x_bo, bo2, bo-like, un-bo, elbo", set()),
        ("(bo), 'bo'. bo!", {"bo"}),
        ("a playful bond", set()),
        ("Bond and BOND", {"bond"}),
        ("<bond>", {"bond"}),
        ("a t-shirt, can't, t", set()),
        ("T, in a T-shirt", {"t"}),
        ("The Black Widow", {"blackwidow"}),
        ("the black\nwidow", {"blackwidow"}),
        ("black-widow", {"blackwidow"}),
        ("black_widow", {"blackwidow"}),
        ("BlackWidow", {"blackwidow"}),
        ("<Black  Widow>", {"blackwidow"}),
        ("black, widow. Black. Widow", set()),
        ("blackwidows, a widow in black", set()),
        ("captain america", {"captainamerica"}),
        ("captain, america", {"captain"}),
        ("Quicksilver", {"quicksilver"}),
        ("Iron Man and <Iron Man>", {"ironman"}),
        ("iron. man", set()),
        ("i ronman, iro n man, ir onman", set()),
        ("an a, a na", set()),
        ("Mr. Krab, Mr Krab, mr.krab", {"mrkrab"}),
        ("mrs krab, mr. krabs", set()),
        ("Baby Q", {"babyq"}),
        ("Baby-Q's bed", {"babyq"}),
        ("baby q", set()),
        ("a brown duck", {"brownduck"}),
        ("Sponge Bob", {"spongebob"}),
        ("O'Neil, O’Neil's", {"oneil"}),
        ("the cafe\u0301", {"café"}),
        ("<zaza> and <Zaza>", {"<zaza>"}),
        ("</bo> and <bo junior>", {"</bo>", "<bo junior>"}),
        ("3 < 4 and 5 > 4, <>, < >", set()),
        ("<<bo>>", {"bo"}),
        ("bo</s>", {"bo"}),
        ("<s>bo<|im_end|>", {"bo"}),
        ("Black\u2011Widow, bo\u2010peep, un\u2011bo", {"blackwidow"}),
        ("b\u00ado\u2019s and Baby\u200bQ", {"bo", "babyq"}),
        ("bo\u02bcs hat", {"bo"}),
        ("bo\u0320, \u0320bo, \u2764\ufe0fT", {"t"}),
        ("", set()),
    ],
)
def test_names_as_a_person_reads_them(caption: str, said: set[str]) -> None:
    assert Lexicon(POOL).said(caption) == said


def test_aliases_are_read_by_the_same_rules() -> None:
    lexicon = Lexicon(
        ["<mr.krab>", "<scarlet witch>", "<ironman>"],
        aliases={
            "<mr.krab>": ["Mr.Krabs"],
            "<scarlet witch>": ["Wanda Maximoff"],
            "<ironman>": ["Iron Man"],
        },
    )
    caption = "Mr. Krabs, <Wanda Maximoff>, wanda-Maximoff's friend and Iron Man"
    assert lexicon.said(caption) == {"mrkrab", "scarletwitch", "ironman"}


def test_an_alias_of_two_is_refused() -> None:
    with pytest.raises(ValueError, match="'Wanda' is an alias of 'b', but it says 'Wanda'"):
        Lexicon(["<a>", "<b>"], aliases={"<a>": ["Wanda"], "<b>": ["Wanda"]})
    with pytest.raises(ValueError, match="it says '<b>'"):
        Lexicon(["<a>", "<b>"], aliases={"<a>": ["B"]})


def test_ordinary_words_need_brackets_or_a_capital_inside_a_sentence() -> None:
    lexicon = Lexicon(
        ["<dog>", "<cat>", "<Bluey>", "<tea_pot>"], ordinary={"dog", "bluey", "teapot"}
    )
    said = {
        "a dog": set(),
        "Dog on a mat. Dog!": set(),
        'He says: "Dog" sits': set(),
        "here is Dog": {"dog"},
        "<dog>": {"dog"},
        "a cat": {"cat"},
        "Bluey sits": {"bluey"},
        "a bluey": set(),
        "a teapot, a tea pot": set(),
        "a tea_pot": {"teapot"},
    }
    assert {caption: set(lexicon.said(caption)) for caption in said} == said


def test_counts_worked_by_hand() -> None:
    lexicon = Lexicon(POOL)
    # Said: bo, bond, captain, <zaza>. Wanted: bo, T.
    caption, targets = "Bo, <Bond>, the captain and <zaza>", ["<bo>", "<T>"]
    assert count_robust_names(caption, targets, [], lexicon) == (0, 1, 3, 1)
    assert count_robust_names(caption, targets, ["<Bond>"], lexicon) == (0, 1, 2, 1)
    assert count_robust_names("T and bo", targets, [], lexicon) == (1, 2, 0, 0)
    assert count_robust_names("T, bo, <Bond>", targets, ["<Bond>"], lexicon).exact == 1
    assert count_robust_names("a bear", [], [], lexicon) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("name", "caption", "is_said"),
    [
        ("<t>", "T", False),
        ("<t>", "t", True),
        ("<McRae>", "Mc Rae", True),
        ("<Mcrae>", "Mc rae", False),
        ("<ironman suit>", "iron man suit", True),
        ("<ironman suit>", "iro nma nsuit", False),
    ],
)
def test_where_a_name_may_be_parted(name: str, caption: str, is_said: bool) -> None:
    assert bool(Lexicon([name]).said(caption)) == is_said


def test_an_alias_with_the_same_letters_adds_a_spelling() -> None:
    names = Lexicon(["<mrx>"], aliases={"<mrx>": ["Mr. X"]})
    assert names.said("Mr. X and mrx") == names.said("mr x") == {"mrx"}
    assert Lexicon(["<mr x>"], aliases={"<mr x>": ["MRX"]}).said("mr x") == {"mrx"}


def test_order_of_the_pool_does_not_matter() -> None:
    caption = "Captain America, the Black Widow, Baby Q, bo and Iron Man"
    assert Lexicon(POOL).said(caption) == Lexicon(POOL[::-1]).said(caption)
    assert len(Lexicon(POOL).said(caption)) == 5


def test_vowel_signs_belong_to_the_word() -> None:
    """Mina and Mona in Hindi: the vowels are marks, by which alone the names differ."""
    mina, mona = "\u092e\u0940\u0928\u093e", "\u092e\u094b\u0928\u093e"
    lexicon = Lexicon([f"<{mina}>", f"<{mona}>"])
    assert lexicon.said(f"{mina}'s hat") == lexicon.said(f"<{mina}>") == {mina}
    assert lexicon.said(mina[:-1]) == lexicon.said(mona + "\u0940") == set()


def test_names_without_letters_are_found_in_brackets() -> None:
    assert Lexicon(["<🐶>"]).said("<🐶> barks 🐶") == {"🐶"}


def test_a_name_is_found_in_any_spelling_and_never_inside_another_word() -> None:
    rng = random.Random(0)
    names = [name for name in POOL if name != "<T>"]
    lexicon = Lexicon(POOL)
    for _ in range(500):
        inside = rng.choice(names)[1:-1]
        said = lexicon.said(f"<{inside}>")
        spelling = inside if rng.random() < 0.5 else inside.upper()
        spelling = spelling.replace(
            " ", rng.choice([" ", "  ", "\n", "-", "_", "\u2011", "\u00a0"])
        )
        before, after = rng.choice(["", "(", "*", '"', "the ", "x, "]), rng.choice(" .,;:!?)*/\n")
        ending = rng.choice(["", "'s", "\u2019s", "'"])
        assert lexicon.said(f"{before}{spelling}{ending}{after}") == said, (inside, spelling)
        assert lexicon.said(f"<{spelling}>") == said
        longer = rng.choice([f"{spelling}zz", f"zz{spelling}", f"zz-{spelling}", f"{spelling}-zz"])
        assert not said & lexicon.said(longer), longer
