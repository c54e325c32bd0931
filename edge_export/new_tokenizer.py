"""A real sentencepiece unigram model in T5's form, trained on sentences made here.

It knows no checkpoint: only how many pieces are wanted.
"""

import hashlib
import string
from collections.abc import Iterator
from itertools import product

# Everything printable, and the letters of the four languages that T5 was trained on.
CHARACTERS = "".join(
    sorted(
        set(string.digits + string.ascii_letters + string.punctuation)
        | set("ÀÂÄÇÈÉÊËÎÏÔÖÙÛÜßàâäçèéêëîïôöùûüŒœăâîșțĂÂÎȘȚ«»–—‘’“”„•€£°")
    )
)
TEMPOS = range(60, 200, 5)
KEYS = ("A", "B", "C", "D", "E", "F", "G", "A minor", "C major", "D minor", "E flat", "F sharp", "G major")


def _list(text: str) -> list[str]:
    """The phrases between commas."""
    return [phrase.strip() for phrase in text.split(",")]


MOODS = _list(
    "warm, cold, bright, dark, soft, hard, deep, airy, gritty, lush, dreamy, punchy, mellow, aggressive, calm, tense,"
    "happy, sad, distant, close, dry, wet, clean, distorted, vintage, modern, analog, digital, cinematic, hypnotic,"
    "ethereal, metallic, wooden, glassy, fuzzy, crunchy, smooth, sparse, dense, slow, fast"
)
SOUNDS = _list(
    "arpeggios, chords, bass line, lead, pad, drone, melody, riff, house beats, drum loop, hi-hats, kick drum,"
    "snare roll, claps, shaker, tambourine, bongo rhythm, piano, electric piano, organ, guitar, acoustic guitar,"
    "strings, violin, cello, brass, trumpet, saxophone, flute, choir, vocal chops, bells, marimba, vibraphone, harp,"
    "sitar, synthesizer, 808, rain on a window, thunder, ocean waves, wind in trees, river, birds singing,"
    "dog barking, cat, crowd cheering, footsteps on gravel, door slam, engine starting, car passing by, train,"
    "airplane, siren, glass breaking, fire crackling, water drops, keyboard typing, clock ticking, heartbeat,"
    "explosion, laser, whoosh, riser"
)
STYLES = _list(
    "techno, house, trance, ambient, dubstep, garage, jungle, funk, soul, jazz, blues, rock, metal, pop, hip-hop, trap,"
    "reggae, disco, lo-fi, chillout, orchestral, folk, country, latin, salsa, samba, classical, experimental"
)
EFFECTS = _list(
    "reverb, delay, echo, chorus, flanger, phaser, distortion, compression, filter, sweep, sidechain, panning, stereo,"
    "mono, tremolo, vibrato, bitcrusher, room, hall, plate, spring"
)
FORMS = (
    "{mood} {sound} on {style} beats {tempo}BPM with drums effect",
    "{mood} {sound}, {style}, {tempo} BPM, in {key}",
    "a {mood} {sound} with {effect} and {other}",
    "{style} loop with {mood} {sound} and {mood2} {other}",
    "Field recording of {sound} and {other}, {mood}, {effect}.",
    "{sound} in a {mood} {style} track, {tempo} BPM {key}",
)
ONSETS = _list("b,br,c,ch,cl,d,dr,f,fl,g,gr,h,j,k,l,m,n,p,pl,r,s,sh,st,str,t,th,tr,v,w,z")
NUCLEI = _list("a,e,i,o,u,ai,ea,ee,oo,ou,y")
CODAS = _list(",n,r,s,t,l,m,ck,nd,ng,sh,st,x,p")
SYLLABLES = ["".join(parts) for parts in product(ONSETS, NUCLEI, CODAS)]
SENTENCES = 4000
WORDS_A_PIECE = 4  # made-up words for each piece wanted: enough of them that no piece must be invented
WORDS_A_LINE = 10


def train_tokenizer(pieces: int) -> bytes:
    """A `spiece.model` of exactly `pieces` pieces, the same bytes on every run."""
    return train_on(sentences(pieces), pieces)


def train_on(lines: Iterator[str], pieces: int, exactly: bool = True) -> bytes:
    """A `spiece.model` for `lines`, the same bytes on every run; if not `exactly`, `pieces` is the most it has.

    Pad is 0, </s> 1, <unk> 2, there is no <s>; text is normalised by nmt_nfkc, as T5's is.
    """
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type="unigram",
        vocab_size=pieces,
        hard_vocab_limit=exactly,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        normalization_rule_name="nmt_nfkc",
        character_coverage=1.0,
        required_chars=CHARACTERS,
        shuffle_input_sentence=False,
        num_threads=1,  # with more, sums of counts depend on who finishes first
        minloglevel=2,
    )
    return model.getvalue()


def sentences(pieces: int) -> Iterator[str]:
    """Descriptions of sounds, then as many made-up words as `pieces` pieces need; each of those twice."""
    yield from (_description(index) for index in range(SENTENCES))
    words = [_word(index) for index in range(WORDS_A_PIECE * pieces)]
    for _ in range(2):  # the trainer drops what occurs once
        for start in range(0, len(words), WORDS_A_LINE):
            yield " ".join(words[start : start + WORDS_A_LINE])


def _description(index: int) -> str:
    dice = _dice("description", index)
    return FORMS[next(dice) % len(FORMS)].format(
        mood=MOODS[next(dice) % len(MOODS)],
        mood2=MOODS[next(dice) % len(MOODS)],
        sound=SOUNDS[next(dice) % len(SOUNDS)],
        other=SOUNDS[next(dice) % len(SOUNDS)],
        style=STYLES[next(dice) % len(STYLES)],
        effect=EFFECTS[next(dice) % len(EFFECTS)],
        tempo=TEMPOS[next(dice) % len(TEMPOS)],
        key=KEYS[next(dice) % len(KEYS)],
    )


def _word(index: int) -> str:
    dice = _dice("word", index)
    return "".join(SYLLABLES[next(dice) % len(SYLLABLES)] for _ in range(2 + next(dice) % 2))


def _dice(kind: str, index: int) -> Iterator[int]:
    """Sixteen numbers drawn from a hash: the same on every machine and version of Python."""
    digest = hashlib.sha512(f"{kind} {index}".encode()).digest()
    return iter([int.from_bytes(digest[at : at + 4], "little") for at in range(0, 64, 4)])
