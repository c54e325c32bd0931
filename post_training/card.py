"""The model card: what was trained on what, by which command, under which licence.

It knows the config; what was measured comes from the evaluation.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from post_training.config import Config
from post_training.start import Start

_CARD = """---
license: apache-2.0
pipeline_tag: text-to-audio
---

# A small ARC text-to-audio model

It makes {seconds:.2f} s of 44.1 kHz stereo from an English description of a sound, in {steps_hint}.
The layout is that of Stable Audio Open Small, the sizes are its own: a dit of width {width} and depth {depth},
a text encoder of {text_layers} layers with {pieces} pieces, an Oobleck autoencoder (x2048, 64 channels).
Weights are half precision.

## Data

{clips} clips drawn by `post_training.sounds`: synthesised, seeded, and nobody's property. No recordings were used.

## Training

A latent is what a fixed analysis says of a stretch: the 64 principal components of its compressed spectra. An
autoencoder learns to play and to find them; over them there is a rectified flow (prompt dropout {dropout:.0%}){arc}.
This folder holds the averaged weights of `{stage}`{start}.

{commands}

## Measures

By an independent judge, on prompts that were held out (`python -m post_training.evaluate`):

<!-- written by `python -m benchmarks.model`: begin -->
Not measured yet.
<!-- end -->

## Limits

It knows the kinds of sounds it was trained on, and English words for them; anything else becomes one of them.
It makes no speech and no songs.

## Licence

Apache-2.0, weights and code.
"""


_ARC = """,
and adversarial relativistic-contrastive post-training (arXiv 2505.08175){ablated}"""
ABLATIONS = {"no-contrastive": "without the contrastive term", "least-squares": "by least squares instead of pairs"}


def model_card(config: Config, stage: str, file: Path, ran: Mapping[str, int], start: Start | None = None) -> str:
    """The README of a checkpoint of what `stage` came to in a run of `config`, which was read from `file`.

    ran: the stages that were trained, by their folders, and how many steps each has done. start: what the run began at.
    """
    is_arc = stage.startswith("arc")
    return _CARD.format(
        seconds=config.network.seconds,
        steps_hint="8 steps of ping-pong sampling" if is_arc else "50 Euler steps with guidance",
        width=config.network.embed_dim,
        depth=config.network.depth,
        text_layers=config.network.text_layers,
        pieces=config.network.pieces,
        clips=config.data.clips,
        dropout=config.flow.prompt_dropout,
        arc=_ARC.format(ablated="".join(f", {wording}" for name, wording in ABLATIONS.items() if name in stage))
        * is_arc,
        stage=stage,
        start=""
        if start is None
        else f", trained on from another checkpoint (START, sha256 {start.checkpoint.sha256})",
        commands="\n".join(f"    python -m post_training {line}" for line in _commands(stage, file, ran, start)),
    )


def _commands(stage: str, file: Path, ran: Mapping[str, int], start: Start | None) -> Iterator[str]:
    config = file.name if file.is_absolute() else file.as_posix()  # no path of the machine
    given = f"--config {config} --run RUN" + ("" if start is None else " --start START")
    for name, steps in ran.items():
        ablated = "".join(f" --{flag}" for flag in ABLATIONS if flag in name)
        yield f"train {name.partition('-')[0]} {given} --steps {steps}{ablated}"
    yield f"publish {given} --stage {stage} --out CHECKPOINT"
