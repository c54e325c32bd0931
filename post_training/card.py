"""The model card: what was trained on what, by which command, under which licence.

It knows the config; what was measured comes from the evaluation.
"""

from collections.abc import Sequence

from post_training.config import Config

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

A latent is what a fixed analysis says of a stretch: the 64 principal components of its compressed spectra. There is
an autoencoder, which learns to play and to find them, and a rectified flow over them (prompt dropout
{dropout:.0%}){arc}.
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


def model_card(config: Config, stage: str, config_name: str, ran: Sequence[str], start: str | None = None) -> str:
    """The README of a checkpoint of what `stage` came to in a run of `config`, in which the stages `ran` were trained.

    start: the checkpoint that the run began at.
    """
    is_arc = stage.startswith("arc")
    ablated = [name for name in ABLATIONS if name in stage]
    return _CARD.format(
        seconds=config.network.seconds,
        steps_hint="8 steps of ping-pong sampling" if is_arc else "50 Euler steps with guidance",
        width=config.network.embed_dim,
        depth=config.network.depth,
        text_layers=config.network.text_layers,
        pieces=config.network.pieces,
        clips=config.data.clips,
        dropout=config.flow.prompt_dropout,
        arc=_ARC.format(ablated="".join(f", {ABLATIONS[name]}" for name in ablated)) if is_arc else "",
        stage=stage,
        start="" if start is None else ", trained on from another checkpoint, START",
        commands=_commands(stage, ran, ablated, config_name, start),
    )


def _commands(stage: str, ran: Sequence[str], ablated: Sequence[str], config_name: str, start: str | None) -> str:
    given = f"--config configs/{config_name} --run RUN" + ("" if start is None else " --start START")
    flags = "".join(f" --{name}" for name in ablated)
    lines = [f"train {name} {given}" for name in ran if name != "arc"]
    if stage.startswith("arc"):
        lines.append(f"train arc {given}{flags}")
    lines.append(f"publish {given} --stage {stage} --out CHECKPOINT")
    return "\n".join(f"    python -m post_training {line}" for line in lines)
