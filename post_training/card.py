"""The model card: what was trained on what, by which command, under which licence.

It knows the config; what was measured comes from the evaluation.
"""

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

A latent is what a fixed analysis says of a stretch: the 64 principal components of its compressed spectra. Three
stages: the autoencoder, which learns to play and to find them ({autoencoder_steps} steps), a rectified flow over them
({flow_steps} steps, prompt dropout {dropout:.0%}), and adversarial relativistic-contrastive post-training (arXiv
2505.08175; {arc_steps} steps).
This folder holds the averaged weights of `{stage}`.

    python -m post_training train autoencoder --config configs/{config} --run RUN
    python -m post_training train flow --config configs/{config} --run RUN
    python -m post_training train arc --config configs/{config} --run RUN
    python -m post_training publish --config configs/{config} --run RUN --stage {stage} --out CHECKPOINT

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


def model_card(config: Config, stage: str, config_name: str) -> str:
    """The README of a checkpoint published from a run of `config`."""
    return _CARD.format(
        seconds=config.network.seconds,
        steps_hint="8 steps of ping-pong sampling" if stage.startswith("arc") else "50 Euler steps with guidance",
        width=config.network.embed_dim,
        depth=config.network.depth,
        text_layers=config.network.text_layers,
        pieces=config.network.pieces,
        clips=config.data.clips,
        autoencoder_steps=config.autoencoder.steps,
        flow_steps=config.flow.steps,
        arc_steps=config.arc.steps,
        dropout=config.flow.prompt_dropout,
        stage=stage,
        config=config_name,
    )
