"""Attributes in words: one of several wordings, every attribute in each. It knows nothing of sound."""

import numpy as np

from post_training.sounds.attributes import Attributes
from post_training.sounds.kinds import KINDS

# What stands before the noun.
BEFORE = {
    "bright": ("bright", "crisp", "brilliant"),
    "dark": ("dark", "muffled", "warm"),
    "slow": ("slow", "unhurried"),
    "fast": ("fast", "quick", "rapid"),
    "single": ("single", "lone"),
    "dry": ("dry",),
    "reverberant": ("reverberant", "echoing"),
    "short": ("short", "brief"),
    "long": ("long", "drawn-out"),
    "quiet": ("quiet", "soft", "faint"),
    "loud": ("loud", "strong"),
}
# What stands after it. Words in both may go to either place.
AFTER = {
    "left": ("on the left", "panned left", "from the left side"),
    "right": ("on the right", "panned right", "from the right side"),
    "dry": ("without reverb",),
    "reverberant": ("with long reverb", "in a large hall"),
}
OPENINGS = ("the sound of", "a recording of", "listen to")


def synonyms(word: str) -> tuple[str, ...]:
    """Every way in which a caption may say an adjective."""
    return BEFORE.get(word, ()) + AFTER.get(word, ())


def with_article(article: str, words: str) -> str:
    """The article that was there, if one was, fitted to the word that now follows it."""
    if not article:
        return words
    return ("an " if words[0].lower() in "aeiou" else "a ") + words


def listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def caption(attributes: Attributes, rng: np.random.Generator) -> str:
    """One of the wordings of these attributes: every adjective, the tempo, the key and the note are in it."""

    def one_of(choices: tuple[str, ...]) -> str:
        return choices[int(rng.integers(len(choices)))]

    name = one_of(KINDS[attributes.kind].names)
    article, noun = name.split(" ", 1) if name.startswith(("a ", "an ")) else ("", name)
    chosen_words = {word: one_of(synonyms(word)) for word in attributes.adjectives}
    before = [word for axis, word in chosen_words.items() if word in BEFORE.get(axis, ())]
    after = [word for axis, word in chosen_words.items() if word not in BEFORE.get(axis, ())]
    before, after = [before[i] for i in rng.permutation(len(before))], [after[i] for i in rng.permutation(len(after))]
    tempo = [one_of((f"{attributes.bpm:g} BPM", f"{attributes.bpm:g}BPM"))] if attributes.bpm else []
    pitch = [
        *([f"in {attributes.key}"] if attributes.key else []),
        *([f"on the note {attributes.note}"] if attributes.note else []),
    ]
    timed = [f"at {words}" for words in tempo]

    plain = with_article(article, noun)
    rich = with_article(article, " ".join([*before, noun]))
    tags = [*before, *after]
    whole = " ".join([rich, *pitch, *timed, *after])
    wordings = (
        whole,
        ", ".join([rich, *after, *pitch, *tempo]),
        ", ".join([noun, *tags, *pitch, *tempo]),
        " ".join([one_of(OPENINGS), whole]),
        f"{', '.join([*tags, *pitch, *tempo])}: {noun}" if tags or pitch or tempo else noun,
        " ".join([plain, *timed, *pitch]) + (f", {listed(tags)}" if tags else ""),
        ", ".join([*after, " ".join([rich, *pitch, *timed])]),
        " ".join([*after, *timed, plain, *pitch]) + (f", {listed(before)}" if before else ""),
    )
    chosen = one_of(wordings)
    return chosen[0].upper() + chosen[1:] if rng.uniform() < 0.5 else chosen
