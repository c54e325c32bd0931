"""`model_config.json` in the stable-audio-tools layout, read into frozen dataclasses.

Strict inside "model": a setting this network does not have is refused, never ignored, since it would
change the sound. It knows no tensors.
"""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_export.errors import CheckpointError
from runtime_py import strict_json

CONFIG_FILE = "model_config.json"
MAX_CONFIG_BYTES = 1 << 20
SPIECE_FILE = "spiece.model"
# A folder of such a name is that model, and no other of another name.
PUBLISHED_T5 = re.compile(r"(flan-|m|by|u)?t5-(v1_1-)?(small|base|large|xl|xxl|3b|11b)")
PROMPT = "prompt"
SECONDS = "seconds_total"
# Far above any published model, and small enough that a stranger's config cannot exhaust the machine.
MAX_SIZE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class T5Config:
    """The text encoder, from its own `config.json`."""

    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_heads: int
    relative_attention_num_buckets: int
    relative_attention_max_distance: int
    layer_norm_epsilon: float
    gated: bool


@dataclass(frozen=True, kw_only=True)
class ConditionerConfig:
    """Prompt and seconds to embeddings of width `dim`; `order` lists the cross-attention inputs.

    `t5_name` is what the config calls the text encoder, `t5_folder` where it lies.
    """

    dim: int
    t5_name: str
    t5_folder: str
    t5: T5Config
    tokens: int
    project_out: bool
    seconds_min: float
    seconds_max: float
    order: tuple[str, ...]

    @property
    def cross_tokens(self) -> int:
        """Length of the cross-attention input: `tokens` for the prompt, one for the seconds."""
        return sum(self.tokens if key == PROMPT else 1 for key in self.order)


@dataclass(frozen=True, kw_only=True)
class DitConfig:
    """The diffusion transformer."""

    io_channels: int
    embed_dim: int
    depth: int
    num_heads: int
    cond_token_dim: int
    project_cond_tokens: bool
    global_cond_dim: int
    qk_norm: str

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads

    @property
    def cross_dim(self) -> int:
        return self.embed_dim if self.project_cond_tokens else self.cond_token_dim


@dataclass(frozen=True, kw_only=True)
class OobleckConfig:
    """One half of the autoencoder. `latent_dim` counts mean and scale for the encoder."""

    audio_channels: int
    channels: int
    c_mults: tuple[int, ...]
    strides: tuple[int, ...]
    latent_dim: int
    use_snake: bool
    final_tanh: bool

    @property
    def hop(self) -> int:
        return math.prod(self.strides)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels between the blocks, from the audio's side."""
        return tuple(self.channels * mult for mult in (1, *self.c_mults))


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The whole network. `latent_length` latents of `dit.io_channels` become one clip."""

    model_type: str
    diffusion_objective: str
    sample_rate: int
    sample_size: int
    conditioner: ConditionerConfig
    dit: DitConfig
    encoder: OobleckConfig
    decoder: OobleckConfig
    latent_scale: float

    @property
    def latent_length(self) -> int:
        return self.sample_size // self.decoder.hop

    @property
    def latent_shape(self) -> tuple[int, int]:
        return (self.dit.io_channels, self.latent_length)

    def shortened(self, latents: int) -> "ModelConfig":
        """The same network for a clip of at most so many latents."""
        return replace(self, sample_size=min(self.sample_size, latents * self.decoder.hop))


class Section:
    """One JSON object, taken apart key by key; `done` refuses what is left over."""

    def __init__(self, value: Any, file: str, path: str) -> None:
        self.file, self.path = file, path
        if not isinstance(value, dict):
            raise self.error("", "is missing or no object")
        self._value = dict(value)

    def error(self, key: str, problem: str) -> CheckpointError:
        where = ".".join(part for part in (self.path, key) if part)
        return CheckpointError(f"{self.file}: {where or 'the document'} {problem}")

    def section(self, key: str) -> "Section":
        path = f"{self.path}.{key}" if self.path else key
        return Section(self._value.pop(key, None), self.file, path)

    def take(self, key: str, kind: type, default: Any = ...) -> Any:
        if key not in self._value:
            if default is ...:
                raise self.error(key, "is missing")
            return default
        value = self._value.pop(key)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
            raise self.error(key, f"is {value!r}, expected {kind.__name__}")
        return value

    def size(self, key: str, default: Any = ..., most: int = MAX_SIZE) -> int:
        """A whole number from 1 to `most`."""
        value: int = self.take(key, int, default)
        if not 1 <= value <= most:
            raise self.error(key, f"is {value}, expected 1 to {most}")
        return value

    def sizes(self, key: str) -> tuple[int, ...]:
        values = self.take(key, list)
        if not 1 <= len(values) <= 16 or not all(type(v) is int and 1 <= v <= 4096 for v in values):
            raise self.error(key, f"is {values!r}, expected whole numbers above 0")
        return tuple(values)

    def only(self, key: str, *known: Any, default: Any) -> Any:
        """One of the `known` values; anything else is a network this is not."""
        value = self._value.pop(key, default)
        if not any(type(value) is type(choice) and value == choice for choice in known):
            raise self.error(key, f"is {value!r}; supported: {', '.join(map(repr, known))}")
        return value

    def ignore(self, *keys: str) -> None:
        """Settings that do not touch the numbers: of training, or of how the library runs."""
        for key in keys:
            self._value.pop(key, None)

    def done(self) -> None:
        if self._value:
            raise self.error("", f"has settings this network does not know: {', '.join(sorted(self._value))}")


def read_json(path: Path) -> Any:
    """The JSON document at `path`; CheckpointError when it is missing, too large or not JSON."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{path} is larger than {MAX_CONFIG_BYTES >> 20} MiB; that is no model config")
        return strict_json.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing; a checkpoint has {CONFIG_FILE}, model.safetensors and its T5 folder"
        ) from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); fetch it again") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error


def load_config(folder: Path) -> ModelConfig:
    """Read `folder/model_config.json` and the T5 config beside it.

    Raises:
        CheckpointError: a file is missing, or describes a network this is not.
    """
    root = Section(read_json(folder / CONFIG_FILE), CONFIG_FILE, "")
    model_type = root.only("model_type", "diffusion_cond", default=None)
    sample_rate = root.size("sample_rate", most=768_000)
    sample_size = root.size("sample_size", most=1 << 28)
    audio_channels = root.size("audio_channels", 2, most=64)
    model = root.section("model")

    latent_dim, encoder, decoder, latent_scale = _pretransform(model.section("pretransform"), audio_channels)
    if model.size("io_channels") != latent_dim:
        raise model.error("io_channels", f"differs from the autoencoder's latent_dim, {latent_dim}")
    diffusion = model.section("diffusion")
    order = _cond_ids(diffusion, "cross_attention_cond_ids", {PROMPT, SECONDS})
    _cond_ids(diffusion, "global_cond_ids", {SECONDS})
    conditioner = _conditioner(model.section("conditioning"), order, folder)
    dit, objective = _diffusion(diffusion, latent_dim, conditioner.dim)
    model.done()

    if sample_size < decoder.hop:
        raise root.error("sample_size", f"is {sample_size}, less than one latent of {decoder.hop} samples")
    return ModelConfig(
        model_type=model_type,
        diffusion_objective=objective,
        sample_rate=sample_rate,
        sample_size=sample_size,
        conditioner=conditioner,
        dit=dit,
        encoder=encoder,
        decoder=decoder,
        latent_scale=latent_scale,
    )


def load_t5_config(path: Path) -> T5Config:
    """Read a T5 `config.json` (transformers' layout): the encoder's sizes; the decoder's are ignored."""
    root = Section(read_json(path), f"{path.parent.name}/{path.name}", "")
    root.only("model_type", "t5", default=None)
    form = root.only("feed_forward_proj", "relu", "gated-gelu", default="relu")
    return T5Config(
        vocab_size=root.size("vocab_size", most=1 << 20),
        d_model=root.size("d_model"),
        d_kv=root.size("d_kv"),
        d_ff=root.size("d_ff"),
        num_layers=root.size("num_layers", most=256),
        num_heads=root.size("num_heads", most=1024),
        relative_attention_num_buckets=root.size("relative_attention_num_buckets", 32, most=4096),
        relative_attention_max_distance=root.size("relative_attention_max_distance", 128),
        layer_norm_epsilon=root.take("layer_norm_epsilon", float, 1e-6),
        gated=form == "gated-gelu",
    )


def _pretransform(section: Section, audio_channels: int) -> tuple[int, OobleckConfig, OobleckConfig, float]:
    section.only("type", "autoencoder", default=None)
    section.ignore("iterate_batch", "model_half", "chunked", "enable_grad")
    latent_scale = section.take("scale", float, 1.0)
    config = section.section("config")
    section.done()
    latent_dim = config.size("latent_dim")
    hop = config.size("downsampling_ratio", most=1 << 20)
    bottleneck = config.section("bottleneck")
    bottleneck.only("type", "vae", default=None)
    bottleneck.ignore("config", "requires_grad")
    bottleneck.done()
    config.only("io_channels", audio_channels, default=audio_channels)
    config.only("in_channels", audio_channels, default=audio_channels)
    config.only("out_channels", audio_channels, default=audio_channels)
    config.only("soft_clip", False, default=False)
    encoder = _oobleck(config.section("encoder"), "in_channels", audio_channels, 2 * latent_dim, hop)
    decoder = _oobleck(config.section("decoder"), "out_channels", audio_channels, latent_dim, hop)
    config.done()
    return latent_dim, encoder, decoder, latent_scale


def _oobleck(section: Section, channels_key: str, audio_channels: int, latent_dim: int, hop: int) -> OobleckConfig:
    section.only("type", "oobleck", default=None)
    section.ignore("requires_grad")
    config = section.section("config")
    section.done()
    config.only(channels_key, audio_channels, default=2)
    config.only("latent_dim", latent_dim, default=32)
    config.only("antialias_activation", False, default=False)
    if channels_key == "out_channels":
        config.only("use_nearest_upsample", False, default=False)
    made = OobleckConfig(
        audio_channels=audio_channels,
        channels=config.size("channels", 128),
        c_mults=config.sizes("c_mults"),
        strides=config.sizes("strides"),
        latent_dim=latent_dim,
        use_snake=config.take("use_snake", bool, False),
        final_tanh=config.take("final_tanh", bool, True) if channels_key == "out_channels" else False,
    )
    config.done()
    if len(made.strides) != len(made.c_mults) or made.hop != hop:
        raise config.error("strides", f"multiply to {made.hop} over {len(made.c_mults)} c_mults, expected {hop}")
    if any(stride % 2 for stride in made.strides):
        raise config.error("strides", "holds an odd stride, for which the published padding loses samples")
    return made


def _cond_ids(section: Section, key: str, wanted: set[str]) -> tuple[str, ...]:
    ids = section.take(key, list)
    if not all(isinstance(name, str) for name in ids) or len(ids) != len(wanted) or set(ids) != wanted:
        raise section.error(key, f"is {ids!r}, expected {sorted(wanted)} in any order")
    return tuple(ids)


def _conditioner(section: Section, order: tuple[str, ...], folder: Path) -> ConditionerConfig:
    dim = section.size("cond_dim")
    entries = section.take("configs", list)
    section.only("default_keys", {}, default={})
    section.only("pre_encoded_keys", [], default=[])
    section.done()
    by_id: dict[str, Section] = {}
    for index, entry in enumerate(entries):
        item = Section(entry, CONFIG_FILE, f"model.conditioning.configs[{index}]")
        by_id[item.take("id", str)] = item
    if set(by_id) != set(order) or len(by_id) != len(entries):
        raise section.error("configs", f"describes {sorted(by_id)}, expected {sorted(order)}")
    prompt, seconds = _typed(by_id[PROMPT], "t5"), _typed(by_id[SECONDS], "number")
    t5_name = prompt.take("t5_model_name", str, "t5-base").rsplit("/", 1)[-1]
    if t5_name in ("", ".", "..") or "\\" in t5_name or "\0" in t5_name:
        raise prompt.error("t5_model_name", "is not a model's name")
    prompt.ignore("enable_grad")
    t5_folder = _t5_folder(folder, t5_name)
    made = ConditionerConfig(
        dim=dim,
        t5_name=t5_name,
        t5_folder=t5_folder,
        t5=load_t5_config(folder / t5_folder / "config.json"),
        tokens=prompt.size("max_length", 128, most=4096),
        project_out=prompt.take("project_out", bool, False),
        seconds_min=seconds.take("min_val", float, 0.0),
        seconds_max=seconds.take("max_val", float, 1.0),
        order=order,
    )
    prompt.done()
    seconds.done()
    if made.seconds_min >= made.seconds_max:
        raise seconds.error("max_val", "must be above min_val")
    return made


def _t5_folder(folder: Path, name: str) -> str:
    """The text encoder's folder: that called `name`, or else the only one that can be it."""
    if (folder / name).is_dir():
        return name
    found = sorted(path.parent.name for path in folder.glob("*/config.json") if _is_t5(path.parent))
    if len(found) == 1 and not PUBLISHED_T5.fullmatch(found[0]):
        return found[0]
    if not found:
        what = f"no other folder there holds a T5 (config.json of model_type t5, {SPIECE_FILE})"
    else:
        what = f"{found[0]} is another T5" if len(found) == 1 else f"{' or '.join(found)} may be it"
    raise CheckpointError(f"{folder / name / 'config.json'} is missing, and {what}; put {name} into {folder / name}")


def _is_t5(folder: Path) -> bool:
    try:
        document = read_json(folder / "config.json")
    except CheckpointError:
        return False
    is_t5 = isinstance(document, dict) and document.get("model_type") == "t5"
    return is_t5 and (folder / SPIECE_FILE).is_file()


def _typed(item: Section, kind: str) -> Section:
    item.only("type", kind, default=None)
    config = item.section("config")
    item.done()
    return config


def _diffusion(section: Section, latent_dim: int, cond_dim: int) -> tuple[DitConfig, str]:
    section.only("type", "dit", default=None)
    objective = _objective(section)
    _empty(section, "input_concat_ids", "prepend_cond_ids")
    section.ignore("distribution_shift_options")  # moves the schedule of other samplers; ping-pong brings its own
    config = section.section("config")
    section.done()
    config.only("transformer_type", "continuous_transformer", default="continuous_transformer")
    for key, value in _PLAIN_TRANSFORMER.items():
        config.only(key, value, default=value)
    config.only("io_channels", latent_dim, default=32)
    config.only("cond_token_dim", cond_dim, default=0)
    config.only("global_cond_dim", cond_dim, default=0)
    config.only("project_global_cond", True, default=True)
    attention = config.section("attn_kwargs")
    made = DitConfig(
        io_channels=latent_dim,
        embed_dim=config.size("embed_dim", 768),
        depth=config.size("depth", 12, most=256),
        num_heads=config.size("num_heads", 8, most=1024),
        cond_token_dim=cond_dim,
        project_cond_tokens=config.take("project_cond_tokens", bool, True),
        global_cond_dim=cond_dim,
        qk_norm=attention.only("qk_norm", "ln", "l2", "none", default="none"),
    )
    attention.done()
    config.done()
    if made.embed_dim % made.num_heads or made.cross_dim % made.head_dim or made.head_dim % 2:
        raise config.error("num_heads", f"does not divide width {made.embed_dim} into heads of even size")
    if made.embed_dim % made.cross_dim:
        raise config.error("embed_dim", f"is no multiple of the cross-attention's width, {made.cross_dim}")
    if made.head_dim < 32:
        raise config.error("num_heads", f"makes heads of {made.head_dim}; rotary embedding needs at least 32")
    return made, objective


# What models of other objectives are: they want other samplers.
_OTHER_OBJECTIVES = {
    "rectified_flow": ", a base model or a fine-tune of one, not post-trained by ARC: stable-audio-tools plays it",
    "v": ", an older kind of model such as Stable Audio Open 1.0: stable-audio-tools plays it",
}


def _objective(section: Section) -> str:
    """The kind of model; where none is named, the published library takes 'v', and we nothing."""
    key, played = "diffusion_objective", "rf_denoiser"
    objective: str = section.take(key, str, "")
    if objective == played:
        return objective
    if not objective:
        raise section.error(
            key,
            f'is missing, and without it the model counts as \'v\', which is not supported; write "{key}": "{played}" '
            "there if it was post-trained by ARC, as Stable Audio Open Small was",
        )
    what = _OTHER_OBJECTIVES.get(objective, "")
    raise section.error(key, f"is {objective[:80]!r}{what}; supported: {played!r}")


# Settings of the transformer that the published model leaves at these values, and this network is built on.
_PLAIN_TRANSFORMER: dict[str, Any] = {
    "patch_size": 1,
    "input_concat_dim": 0,
    "prepend_cond_dim": 0,
    "global_cond_type": "prepend",
    "timestep_cond_type": "global",
    "timestep_embed_dim": None,
    "final_cross_attn_ix": -1,
    "causal": False,
    "rotary_pos_emb": True,
    "conformer": False,
    "use_sinusoidal_emb": False,
    "use_abs_pos_emb": False,
    "num_memory_tokens": 0,
    "sliding_window": None,
    "remove_norms": False,
    "layer_scale": False,
    "zero_init_branch_outputs": True,
    "ff_kwargs": {},
    "norm_kwargs": {},
}


def _empty(section: Section, *keys: str) -> None:
    for key in keys:
        section.only(key, [], default=[])
