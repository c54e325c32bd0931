"""Files of tensors in the forms they lie about in; code in them is never run.

    x.safetensors    x.ckpt or x.bin, as PyTorch saves them    x.index.json, with its shards beside it

Over any of these, `unwrap` finds the model inside of what training wrapped round it. It knows names and shapes, and
no network.
"""

import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from edge_export.errors import CheckpointError
from edge_export.model.config import read_json
from runtime_py.errors import first_line

SUFFIXES = (".safetensors", ".ckpt", ".bin", ".pt", ".pth")
INDEX = ".index.json"
SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.(safetensors|bin)")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LISTED = 4
MAX_NAME = 80

# How stable-audio-tools wraps a model to train it, and what its unwrap_model.py takes out again.
TRAINED = "diffusion."
AVERAGED = "diffusion_ema.ema_model."
NETWORK = "model."  # the part of the model that is averaged
TRAINING = ("diffusion_ema.", "discriminator.", "discriminator_head.", "teacher_model.", "clap_model.", "losses.")


class Tensors(Protocol):
    """Tensors by name: their shapes without reading them, and one at a time.

    `path` is the file to name in messages; `files` are all that the tensors come from. What `get` has read may stay
    in memory as long as these do: `again` opens the same files anew.
    """

    @property
    def path(self) -> Path: ...

    @property
    def files(self) -> tuple[Path, ...]: ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def get(self, name: str) -> Tensor: ...

    def again(self) -> "Tensors": ...


class SafetensorsFile:
    """A `.safetensors` file, mapped."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.path, self.files = path, (path,)
        try:
            self._file = safe_open(str(path), framework="pt")
            self.shapes = {name: tuple(self._file.get_slice(name).get_shape()) for name in self._file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(
                f"{path} is truncated or no safetensors file ({first_line(error)}); fetch it again"
            ) from error

    def get(self, name: str) -> Tensor:
        return self._file.get_tensor(name)

    def again(self) -> "SafetensorsFile":
        return SafetensorsFile(self.path)


class PickledFile:
    """What `torch.save` wrote, read by the restricted loader that builds tensors and nothing else."""

    def __init__(self, path: Path) -> None:
        self.path, self.files = path, (path,)
        document = _unpickled(path)
        tensors = document.get("state_dict", document) if isinstance(document, dict) else None
        if not isinstance(tensors, dict) or not all(map(_plain, tensors.values())):
            raise CheckpointError(f"{path} holds no state_dict of tensors; use the published file")
        self._tensors: dict[str, Tensor] = {str(name): tensor for name, tensor in tensors.items()}
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def get(self, name: str) -> Tensor:
        return self._tensors[name]

    def again(self) -> "PickledFile":
        """Itself when its format cannot be mapped: then all of it was read at once."""
        return PickledFile(self.path) if zipfile.is_zipfile(self.path) else self


class Shards:
    """Several files and the index that says which tensor lies in which, held to the letter."""

    def __init__(self, path: Path) -> None:
        self.path = path
        document = read_json(path)
        where = document.get("weight_map") if isinstance(document, dict) else None
        if not isinstance(where, dict) or not where:
            raise CheckpointError(f"{path} has no weight_map, which says where tensors lie; fetch it again")
        for shard in where.values():
            if not isinstance(shard, str) or not SHARD.fullmatch(shard):
                raise CheckpointError(f"{path} names {shown(shard)!r}, no file of weights beside it; fetch it again")
        self._files = {shard: open_file(path.parent / shard) for shard in sorted(set(where.values()))}
        for shard, file in self._files.items():
            differing = set(file.shapes) ^ {name for name, its in where.items() if its == shard}
            if differing:
                raise CheckpointError(
                    f"{file.path} holds other tensors than {path.name} says ({listed(sorted(differing))}); "
                    "fetch index and shards again"
                )
        self._where: dict[str, str] = where
        self.files = (path, *(file.path for file in self._files.values()))
        self.shapes = {name: self._files[shard].shapes[name] for name, shard in where.items()}

    def get(self, name: str) -> Tensor:
        return self._files[self._where[name]].get(name)

    def again(self) -> "Shards":
        return Shards(self.path)


class Unwrapped:
    """The model inside of a training wrapper, under its published names.

    The moving average that training keeps (EMA) takes the place of the network's own weights, of all of them: no
    tensor comes from the one where the other has it.
    """

    def __init__(self, file: Tensors) -> None:
        self._file, self.path, self.files = file, file.path, file.files
        self.averaged = _any_begins(file.shapes, AVERAGED)
        self._names: dict[str, str] = {}
        for name in file.shapes:
            published = self._published(name)
            if published in self._names:
                raise CheckpointError(
                    f"{file.path} holds {shown(published)} twice, as it is and in a wrapper; use one or the other"
                )
            if published is not None:
                self._names[published] = name
        self.shapes = {published: file.shapes[name] for published, name in self._names.items()}

    def _published(self, name: str) -> str | None:
        if name.startswith(AVERAGED):
            return NETWORK + name.removeprefix(AVERAGED)
        published = name.removeprefix(TRAINED)
        replaced = self.averaged and published.startswith(NETWORK)
        return None if replaced or name.startswith(TRAINING) else published

    def get(self, name: str) -> Tensor:
        return self._file.get(self._names[name])

    def again(self) -> "Unwrapped":
        return Unwrapped(self._file.again())

    @property
    def note(self) -> str:
        which = "with the moving average of its weights (EMA)" if self.averaged else "which has no moving average (EMA)"
        return f"{self.path} is as training left it: the model inside is read, {which}"


def unwrap(file: Tensors) -> Tensors:
    """`file`, or the model inside of it when it is wrapped for training."""
    wrapped = _any_begins(file.shapes, TRAINED) or _any_begins(file.shapes, AVERAGED)
    return Unwrapped(file) if wrapped else file


def open_first(folder: Path, names: tuple[str, ...]) -> Tensors:
    """The first of the files `names` that `folder` has.

    Raises:
        CheckpointError: it has none of them; or what `open_file` says.
    """
    for path in (folder / name for name in names):
        if path.is_file() or path.is_symlink():
            return open_file(path)
    others = listed(sorted(path.name for path in folder.iterdir() if path.suffix in SUFFIXES))
    raise CheckpointError(
        f"{folder} has neither {' nor '.join(names)}"
        + (f", but {others}: give the one that you mean such a name, or" if others else ";")
        + " complete the checkpoint with `edge-export fetch`"
    )


def open_file(path: Path) -> Tensors:
    """The tensors at `path`, whatever form its name says.

    Raises:
        CheckpointError: it is missing, cannot be read, is damaged, or holds more than tensors.
    """
    existing(path)
    if path.name.endswith(INDEX):
        return Shards(path)
    return SafetensorsFile(path) if path.suffix == ".safetensors" else PickledFile(path)


def existing(path: Path) -> Path:
    """`path`, once it is known to be a file that can be read, and no stand-in for one.

    Raises:
        CheckpointError: it is not.
    """
    if not path.is_file():
        lost = "a link to a file that is gone" if path.is_symlink() else "missing"
        raise CheckpointError(f"{path} is {lost}; `edge-export fetch` completes a checkpoint")
    try:
        with path.open("rb") as file:  # the readers of weights take a file that they may not read for a damaged one
            pointer = file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    if pointer:
        raise CheckpointError(
            f"{path} is a git-lfs pointer, not the file itself; run `git lfs pull` in {path.parent}, or fetch it"
        )
    return path


def lora_files(folder: Path, used: Iterable[Path]) -> list[str]:
    """Names of files in `folder`, and one folder below, that are a LoRA's and not among those `used`."""
    found = {*folder.glob("*"), *folder.glob("*/*")} - {*used}
    return sorted(str(path.relative_to(folder)) for path in found if _is_lora(path))


def listed(names: Iterable[str], most: int = MAX_NAME) -> str:
    """The first few names, each as `shown` has it, and how many more there are."""
    everything = list(names)
    more = f" and {len(everything) - LISTED} more" if len(everything) > LISTED else ""
    return ", ".join(shown(name, most) for name in everything[:LISTED]) + more


def shown(name: object, most: int = MAX_NAME) -> str:
    """A stranger's name as it may stand in a message: printable, and of at most so many characters."""
    text = str(name)[: most + 1]
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= most else text[: most - 3] + "..."


def _is_lora(path: Path) -> bool:
    name = path.name.lower()
    if name != "adapter_config.json" and path.suffix not in SUFFIXES:
        return False
    try:
        if not path.is_file():
            return False
        if "lora" in name or name.startswith("adapter_"):
            return True
        return path.suffix == ".safetensors" and any("lora_" in tensor for tensor in SafetensorsFile(path).shapes)
    except (CheckpointError, OSError):  # whatever it is, it is not what was asked for
        return False


def _any_begins(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _plain(value: object) -> bool:
    """Whether `value` is a tensor whose values lie there, one beside the other."""
    return isinstance(value, Tensor) and value.layout is torch.strided and not (value.is_meta or value.is_nested)


def _unpickled(path: Path) -> object:
    """What PyTorch says of a file that it refuses is advice to trust it: none of that is passed on."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Only the newer of its two formats, a ZIP archive, can be mapped.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # the loader raises whatever the damage leads to
        raise CheckpointError(
            f"{path} is truncated, or holds more than weights; fetch it again, or write its state_dict alone as "
            "unwrap_model.py of stable-audio-tools does"
        ) from error
