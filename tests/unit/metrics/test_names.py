import random
import re
from collections.abc import Collection
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.names import Lexicon, count_names, lexicon_of
from repic.toybox.dataset import CaptionDataset, SceneRules

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


def names_said(caption: str, pool: Collection[str]) -> frozenset[str]:
    return frozenset(span.name for span in lexicon_of(tuple(pool)).spans(caption))


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
    assert Lexicon(POOL, ordinary=()).said(caption) == said


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
    lexicon = Lexicon(POOL, ordinary=())
    # Said: bo, bond, captain, <zaza>. Wanted: bo, T.
    caption, targets = "Bo, <Bond>, the captain and <zaza>", ["<bo>", "<T>"]
    assert count_names(caption, targets, lexicon) == (0, 1, 3, 1)
    assert count_names(caption, targets, lexicon, elsewhere=["<Bond>"]) == (0, 1, 2, 1)
    assert count_names("T and bo", targets, lexicon) == (1, 2, 0, 0)
    assert count_names("T, bo, <Bond>", targets, lexicon, elsewhere=["<Bond>"]).exact == 1
    assert count_names("a bear", [], lexicon) == (1, 0, 0, 0)


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
    assert Lexicon(POOL, ordinary=()).said(caption) == Lexicon(POOL[::-1], ordinary=()).said(
        caption
    )
    assert len(Lexicon(POOL, ordinary=()).said(caption)) == 5


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
    lexicon = Lexicon(POOL, ordinary=())
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


@pytest.mark.parametrize(
    ("caption", "pool", "said"),
    [
        # Ordinary words are no names, whoever has them for a name.
        ("You can't miss the dog; a playful bond.", "<T> <Bond> <dog>", ""),
        ("A cat sits by a can", "<cat> <can> <A>", ""),
        ("A can can be a cat. Cat!", "<cat> <can>", ""),
        ("<cat> sits by a dog named can", "<cat> <can> <dog>", "<cat> <can>"),
        ("On a mat is Cat, and the _can_", "<cat> <can>", "<cat>"),
        ("A Big Dog Sits Near Flowers; THE DOG", "<dog>", ""),
        ("A PLAYFUL BOND", "<Bond>", ""),
        ("🐶 Can is here! ¿Can? „Can“ (Here.) Can. “Hi.” Can. — Can", "<can>", ""),
        ("With <bo>, Can and (here) Cat", "<bo> <can> <cat>", "<bo> <can> <cat>"),
        ("Thor and HULK.", "<thor> <hulk>", "<thor> <hulk>"),
        ("Bond waves", "<Bond>", "<Bond>"),
        ("There are 2 of them, and I see them.", "<2> <I> <There>", ""),
        ("<2> and <i>", "<2> <I>", "<2> <I>"),
        # Apostrophes of every kind, and what they join.
        *((f"O{mark}Brien waves", "<O'Brien> <O>", "<O'Brien>") for mark in "'’ʼ＇‘‛`´ʹʻ′ꞌ"),
        ("<O’Brien> and D’Artagnan’s hat", "<O'Brien> <D'Artagnan>", "<O'Brien> <D'Artagnan>"),
        ("O&#39;Brien &amp; &lt;bo&gt;", "<O’Brien> <bo>", "<O’Brien> <bo>"),
        ("Ayşe'nin kedisi", "<Ayşe>", "<Ayşe>"),
        ("T’was, T's", "<T>", "<T>"),
        ("O’Brien", "<O>", ""),
        ("l’amie _d'Anna_, dell'Émile", "<Anna> <Émile>", "<Anna> <Émile>"),
        ("L'Eva somriu", "<Eva>", "<Eva>"),
        ("D'Artagnan and O'Brien", "<Artagnan> <Brien>", ""),
        ("Don't ask Don’s cat", "<Don>", "<Don>"),
        ("Don’t, DON'T", "<Don>", ""),
        # The dots and the dotless of Turkish.
        ("İrem gülüyor, Işıl da", "<irem> <ışıl>", "<irem> <ışıl>"),
        ("<İREM>, DENİZ VE YILDIZ", "<irem> <Deniz> <Yıldız>", "<irem> <Deniz> <Yıldız>"),
        # Vowel points that a writer may leave out, and a stretched letter.
        ("مُحَمَّد و سـارة", "<محمد> <سارة>", "<محمد> <سارة>"),
        ("محمد", "<مُحَمَّد>", "<مُحَمَّد>"),
        ("שָׂרָה, דנה", "<שרה> <דָּנָה>", "<שרה> <דָּנָה>"),
        # What parts a foreign name.
        *((f"哈利{dot}波特在", "<哈利·波特>", "<哈利·波特>") for dot in ("·", "・", "‧", "･", "")),
        ("WALL·E", "<Wall-E>", "<Wall-E>"),
        ("רש״י", '<רש"י>', '<רש"י>'),
        # Composed and decomposed letters, full width, what is not seen.
        ("Zoe\u0308 smiles", "<Zoë>", "<Zoë>"),
        ("Zoë smiles", "<Zoe\u0308>", "<Zoe\u0308>"),
        ("Zoe smiles", "<Zoë>", ""),
        ("Ｂｏ ＜ｍｉ＞, l\u00adu", "<bo> <mi> <lu>", "<bo> <mi> <lu>"),
        ("b\u034fo \u3164mi", "<bo> <mi>", "<bo> <mi>"),
        ("bo™ waves", "<bo>", "<bo>"),
        # Scripts without spaces, each syllable whole.
        *(
            (text, "<小白>", "<小白>")
            for text in ("小白在草地上睡觉。", "照片里，小白和猫", "＜小白＞在")
        ),
        ("小白兔", "<小白> <小白兔>", "<小白兔>"),
        ("白色的狗", "<白>", ""),
        ("白, 狗", "<白>", "<白>"),
        ("Bo在草地上", "<bo>", "<bo>"),
        ("タマは寝ている", "<タマ>", "<タマ>"),
        ("ﾀﾏと犬", "<タマ>", "<タマ>"),
        ("タマゴを食べる", "<タマ>", ""),
        ("さくらはねている", "<さくら>", "<さくら>"),
        ("ในภาพมานีกำลังวิ่ง", "<มานี>", "<มานี>"),
        ("มานะนั่ง", "<มาน>", ""),
        ("ນາງມະນີກຳລັງແລ່ນ", "<ມະນີ>", "<ມະນີ>"),
        ("សុខកំពុងអង្គុយ", "<សុខ>", "<សុខ>"),
        ("មើលសុខា", "<សុខ>", ""),
        ("အောင်သည် မြက်ပေါ်မှာ", "<အောင်>", "<အောင်>"),
        ("မောင်သည်", "<မော>", ""),
        # What a language writes on its words.
        ("민수가 웃는다. 민준이는", "<민수> <민준>", "<민수> <민준>"),
        ("민수정은", "<민수>", ""),
        ("ودانة تبتسم", "<دانة>", "<دانة>"),
        # Marks of Markdown.
        ("*bo*, _mi_ and **<lu>**", "<bo> <mi> <lu>", "<bo> <mi> <lu>"),
        ("__bo__, ~~mi~~, `lu`", "<bo> <mi> <lu>", "<bo> <mi> <lu>"),
        ("[bo](http://a.b) \\<mi\\> <**T**>", "<bo> <mi> <T>", "<bo> <mi> <T>"),
        ("_x_bo_ bo_2", "<bo>", ""),
        # Signs as names.
        ("🐶 barks at ♥️", "<🐶> <♥>", "<🐶> <♥>"),
        ("👩‍🚀 and 👩🏽", "<👩>", ""),
        ("C++, so c++ and k.o. is", "<c++> <c> <k.o.>", "<c++> <k.o.>"),
        ("bo & mi + lu", "<&> <+>", ""),
    ],
)
def test_names_in_any_script_and_spelling(caption: str, pool: str, said: str) -> None:
    assert names_said(caption, pool.split()) == frozenset(said.split())


@pytest.mark.parametrize("name", ["<İbo>", "<ıbo>", "<Straße>", "<a+b>", "<c++>", "<k.o.>"])
def test_names_are_no_patterns_and_may_be_foreign(name: str) -> None:
    bare = name[1:-1]
    for caption in (f"{name} here", f"so {bare} is here", f"so {bare.lower()} is here"):
        names_said(caption, (name, "<ibo>"))  # a look-alike under case folding is no accident
    assert names_said(f"so {bare} is here", (name,)) == {name}


def test_spans_are_in_order_with_repeats_and_point_into_the_caption() -> None:
    caption = "Mo\u0308mi, <zaza>, O&#39;Neil's hat, ﬀ <mömi>"
    spans = Lexicon(["<mömi>", "<o'neil>"]).spans(caption)
    parts = [caption[s.start : s.end] for s in spans]
    assert parts == ["Mo\u0308mi", "<zaza>", "O&#39;Neil", "<mömi>"]
    assert [s.name for s in spans] == ["<mömi>", "<zaza>", "<o'neil>", "<mömi>"]


def test_without_a_pool_only_inventions_are_found() -> None:
    assert names_said("momi and <zaza>", ()) == {"<zaza>"}


def loosely_said(caption: str, pool: tuple[str, ...]) -> set[str]:
    """Names as whole words, with brackets or without: all that toybox's captions need."""
    bare = "|".join(re.escape(name[1:-1]) for name in pool)
    found = re.findall(rf"<[^<>]+>|(?<!\w)(?:{bare})(?!\w)", caption, re.IGNORECASE)
    return {f"<{name.strip('<>').casefold()}>" for name in found}


def test_toybox_captions_say_the_same_by_a_loose_rule() -> None:
    rules = SceneRules((1, 2), 0.5, (0, 1), 0.0, 0.0, omit=0.0, swap=0.0)
    scenes = CaptionDataset(
        "test", counts=[1, 3], size=60, seed=0, rules=rules, questions=["Who?"], scale=1.0
    )
    found = 0
    for example in scenes:
        absent = next(name for name in example.pool if name not in example.present)
        for text in example.answers:
            wrong = re.sub(r"<\w+>", absent, text, count=1)
            for caption in (text, wrong, f"{wrong} <nobody>.", wrong.upper()):
                said = names_said(caption, example.pool)
                assert said == loosely_said(caption, example.pool), caption
                found += len(said)
    assert found > 1000


words = st.text(st.sampled_from("bqz o.<>'-_\n小"), max_size=40)
names = st.text(st.sampled_from("bqz小"), min_size=1, max_size=4).map(lambda text: f"<{text}>")


@given(words, st.lists(names, unique=True))
def test_spans_never_overlap_and_every_bracketed_pool_name_is_found(
    caption: str, pool: list[str]
) -> None:
    spans = Lexicon(pool).spans(caption)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    for name in pool:
        assert not re.search(re.escape(name), caption) or name in names_said(caption, pool)


@given(words, st.lists(names, unique=True), names)
def test_a_name_is_said_once_it_is_appended(caption: str, pool: list[str], name: str) -> None:
    # A closing bracket first: an unfinished "<" would swallow what follows.
    assert name in names_said(f"{caption}>\n{name}", [*pool, name])
