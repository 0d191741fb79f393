"""Texts to tokens: by our own rules, or by the Penn Treebank tokenizer, which is a Java program.

The second is what published CIDEr, BLEU, ROUGE-L, METEOR and SPICE values on photos use:
pycocoevalcap 1.2's jar and its list of punctuation. Its own wrapper puts all captions into one
file, a line each, and counts lines in the answer; a caption that holds what Java takes for the end
of a line (carriage return, form feed, U+2028, ...) moves every later caption by one without a word.
Here such characters become spaces first, and an answer with another number of lines is an error.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pycocoevalcap.tokenizer import ptbtokenizer

from repic.metrics.captions.metric import Tokenizer
from repic.metrics.cider import words

NO_JAVA = "it needs Java, and there is none here (Debian: apt-get install default-jre-headless)"

_JAR = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
_DROPPED = frozenset(ptbtokenizer.PUNCTUATIONS)


def has_java() -> bool:
    """Whether a Java program can be started."""
    return shutil.which("java") is not None


def one_line(text: str) -> str:
    r"""Put a space where a line ends, by anybody's notion of that.

    Example:
        >>> one_line("a\r\nb\x0cc\u2028d")
        'a b c d'
    """
    return " ".join(text.splitlines())


def ptb(texts: Sequence[str]) -> list[str]:
    """Split as pycocoevalcap's ``PTBTokenizer`` does, in one call of Java.

    Raises:
        OSError: Java is not there, or fails.
    """
    if not texts:
        return []
    lines = "".join(f"{one_line(text)}\n" for text in texts)
    java = ["java", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp", str(_JAR)]
    program = ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    # What is no Unicode character (half of a pair) becomes "?".
    sent = lines.encode("utf-8", "replace")
    try:
        done = subprocess.run([*java, *program], input=sent, capture_output=True, check=False)
    except FileNotFoundError:
        raise OSError(f"metrics.tokenizer=ptb: {NO_JAVA}; tokenizer=words does without") from None
    found = done.stdout.decode("utf-8", "replace").split("\n")[:-1]
    if done.returncode or len(found) != len(texts):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise OSError(
            f"the Penn Treebank tokenizer gave {len(found)} lines for {len(texts)} captions"
            f" ({said[-1] if said else 'no message'}); metrics.tokenizer=words does without Java"
        )
    return [" ".join(t for t in line.rstrip().split(" ") if t not in _DROPPED) for line in found]


TOKENIZERS: dict[str, Tokenizer] = {"words": words, "ptb": ptb}
