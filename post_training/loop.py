"""The step loop: seeded by step, logged as JSON lines, saved whole, resumed bit for bit.

It knows no losses: a stage makes its step, and says what must be kept.
"""

import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from edge_export.errors import CheckpointError, GenerationError, UsageError
from edge_export.staging import output_error
from post_training.allocator import keep_freed_memory
from post_training.clips import write_whole
from post_training.config import Config, StageSettings
from runtime_py.errors import first_line

if TYPE_CHECKING:
    from accelerate import Accelerator

STATE_FILE, LOG_FILE, RUN_FILE = "state.pt", "log.jsonl", "run.json"
FORMAT = 1
FREE = ("steps", "log_every", "save_every", "compile")  # settings that may differ when a run goes on

Note = Callable[[str], None]


class Stage(Protocol):
    """What the loop runs. Everything that `step` changes is in `modules` or `optimizers`."""

    @property
    def modules(self) -> Mapping[str, nn.Module]: ...

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]: ...

    def step(self, step: int) -> Mapping[str, Tensor]:
        """One step (counted from 0); returns what is logged, each a number."""
        ...


@dataclass(frozen=True)
class RunFolder:
    """Where one stage of one run lives: `state.pt`, `log.jsonl`, and what it was started with."""

    path: Path

    def claim(self, document: Mapping[str, Any]) -> None:
        """Note what this run is, or hold it against what it was started with.

        Raises:
            UsageError: it was started with other settings; the message names them.
            OutputError: the folder cannot be written.
        """
        self.check(document)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(error, self.path) from error
        file = self.path / RUN_FILE
        if not file.exists():
            write_whole(file, (json.dumps(document, indent=2) + "\n").encode())

    def check(self, document: Mapping[str, Any]) -> None:
        """Hold `document` against what the folder was claimed with, if it was; raises as `claim` does."""
        file = self.path / RUN_FILE
        if not file.exists():
            return
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} is damaged ({first_line(error)}); choose another --run") from error
        changed = _differences(before, json.loads(json.dumps(document)))
        if changed:
            raise UsageError(f"{self.path} was started with other settings: {', '.join(changed)}; choose another --run")

    @property
    def has_state(self) -> bool:
        return (self.path / STATE_FILE).exists()

    def load(self) -> dict[str, Any] | None:
        """The last saved state, on the CPU; None if there is none.

        Raises:
            CheckpointError: the file is damaged, or holds more than tensors.
        """
        file = self.path / STATE_FILE
        if not self.has_state:
            return None
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # the loader raises whatever the damage leads to
            raise CheckpointError(f"{file} is damaged ({first_line(error)}); remove it to start again") from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise CheckpointError(f"{file} is no state of this version; remove it to start again")
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state as a whole; on a full disk the last one stays (OutputError)."""
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **state}, buffer)
        write_whole(self.path / STATE_FILE, buffer.getvalue())

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append one JSON line."""
        try:
            with (self.path / LOG_FILE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise output_error(error, self.path / LOG_FILE) from error

    def rewind(self, step: int) -> None:
        """Drop log lines after `step`: they are made again."""
        file = self.path / LOG_FILE
        if not file.exists():
            return
        kept = [line for line in file.read_text(encoding="utf-8").splitlines() if _logged_step(line) <= step]
        write_whole(file, "".join(f"{line}\n" for line in kept).encode())


@dataclass(frozen=True, kw_only=True)
class Reached:
    """Where `run_stage` stopped: `step` steps done, of `steps`."""

    step: int
    steps: int

    @property
    def complete(self) -> bool:
        return self.step >= self.steps


def make_accelerator() -> "Accelerator":
    """bfloat16 autocast on a GPU, float32 on a CPU."""
    from accelerate import Accelerator

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    else:
        keep_freed_memory()
    return Accelerator(mixed_precision="bf16" if on_gpu else "no", cpu=not on_gpu)


def run_stage(
    name: str,
    stage: Stage,
    folder: RunFolder,
    settings: StageSettings,
    seed: int,
    accelerator: "Accelerator",
    note: Note,
    deadline: float = math.inf,
) -> Reached:
    """Run `stage` from its last saved step to `settings.steps`, or until `deadline` (of time.monotonic).

    Raises:
        CheckpointError: the saved state is damaged, or of another size.
        GenerationError: a loss is NaN or infinite; the last good state stays.
        OutputError: a state or a log line cannot be written; the last good state stays.
    """
    step = restore(stage, folder)
    if step:
        note(f"{name}: goes on after step {step}")
    if accelerator.is_main_process:
        folder.rewind(step)
    saved = step
    clock = time.monotonic()
    logged = step
    while step < settings.steps and time.monotonic() < deadline:
        torch.manual_seed(step_seed(seed, name, step, accelerator.process_index))
        _set_rates(stage.optimizers, settings, step)
        metrics = stage.step(step)
        step += 1
        due_save = step % settings.save_every == 0 or step == settings.steps
        due_log = step % settings.log_every == 0 or step == settings.steps
        if due_log or due_save:
            values = _values(name, metrics, step, saved)
            if accelerator.is_main_process and due_log:
                per_step = (time.monotonic() - clock) / (step - logged)
                clock, logged = time.monotonic(), step
                folder.log({"step": step, **values, "seconds_per_step": round(per_step, 5)})
                note(f"{name}: step {step}/{settings.steps}  {_line(values)}  {per_step:.3f} s/step")
        if due_save:
            _save(stage, folder, step, accelerator)
            saved = step
    if saved < step:
        _save(stage, folder, step, accelerator)
    return Reached(step=step, steps=settings.steps)


def restore(stage: Stage, folder: RunFolder) -> int:
    """Load the last saved state into `stage`; returns the steps it has made, 0 if there is no state."""
    state = folder.load()
    if state is None:
        return 0
    for name, module in stage.modules.items():
        load_weights(module, state, name, folder)
    for name, optimizer in stage.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    return int(state["step"])


def load_weights(module: nn.Module, state: Mapping[str, Any], name: str, folder: RunFolder) -> None:
    """Fill `module` from a saved state; CheckpointError when it is of another size."""
    try:
        plain(module).load_state_dict(state["modules"][name])
    except (KeyError, RuntimeError) as error:
        file = folder.path / STATE_FILE
        advice = "name the config that the run was made with, or choose another --run"
        raise CheckpointError(f"{file} is of another size than the config; {advice}") from error


def precision(settings: StageSettings, device: torch.device) -> torch.autocast:
    """Where forward passes run: bfloat16 on a CPU where the settings ask for it; on a GPU accelerate sees to it."""
    return torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16 and device.type == "cpu")


def plain(module: nn.Module) -> nn.Module:
    """The module itself, without what wraps it for many GPUs."""
    inner = getattr(module, "module", None)
    return inner if isinstance(module, nn.parallel.DistributedDataParallel) and inner is not None else module


def document(config: Config, *parts: str) -> dict[str, Any]:
    """What a stage's numbers depend on: the seed and the named parts of the config, without free settings."""
    whole = asdict(config)
    chosen = {part: {k: v for k, v in whole[part].items() if k not in FREE} for part in parts}
    if "data" in chosen:
        chosen["data"].pop("workers")
    return {"seed": config.seed, **chosen}


def step_seed(seed: int, name: str, step: int, process: int) -> int:
    """A seed for one step: what is drawn in it does not depend on how the run came there."""
    digest = hashlib.sha256(f"{seed} {name} {step} {process}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def rate(settings: StageSettings, step: int) -> float:
    """Factor on the learning rate at `step` (from 0): a linear rise, a plateau, a linear fall to 0 at the end."""
    rise = min(1.0, (step + 1) / (settings.warmup + 1))
    falling = settings.decay * settings.steps
    fall = min(1.0, (settings.steps - step) / falling) if falling else 1.0
    return rise * max(fall, 0.0)


def make_optimizer(
    modules: Sequence[nn.Module],
    settings: StageSettings,
    learning_rate: float,
    slower: Sequence[Tensor] = (),
    factor: float = 1.0,
) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101); weight decay for matrices alone; `slower` matrices learn at `factor` of the rate."""
    apart = {id(parameter) for parameter in slower}
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    matrices = [p for p in parameters if p.ndim >= 2]
    decay = settings.weight_decay
    groups = (
        ([p for p in matrices if id(p) not in apart], decay, learning_rate),
        ([p for p in parameters if p.ndim < 2], 0.0, learning_rate),
        ([p for p in matrices if id(p) in apart], decay, learning_rate * factor),
    )
    return torch.optim.AdamW(
        [{"params": some, "weight_decay": held, "full_rate": full} for some, held, full in groups if some],
        lr=learning_rate,
        betas=settings.betas,
        fused=torch.cuda.is_available(),
    )


def descend(
    accelerator: "Accelerator", loss: Tensor, optimizer: torch.optim.Optimizer, clip_norm: float, *modules: nn.Module
) -> Tensor:
    """One update of `modules` down the gradient of `loss`, which is clipped for each of them alone; returns the first's
    norm before that.
    """
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    norms = [nn.utils.clip_grad_norm_(module.parameters(), clip_norm) for module in modules]
    optimizer.step()
    return norms[0].detach()


def _set_rates(optimizers: Mapping[str, torch.optim.Optimizer], settings: StageSettings, step: int) -> None:
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = group["full_rate"] * rate(settings, step)


def _save(stage: Stage, folder: RunFolder, step: int, accelerator: "Accelerator") -> None:
    if accelerator.is_main_process:
        folder.save(
            {
                "step": step,
                "modules": {name: plain(module).state_dict() for name, module in stage.modules.items()},
                "optimizers": {name: optimizer.state_dict() for name, optimizer in stage.optimizers.items()},
            }
        )
    accelerator.wait_for_everyone()


def _values(name: str, metrics: Mapping[str, Tensor], step: int, saved: int) -> dict[str, float]:
    values = {key: float(value) for key, value in metrics.items()}
    bad = [key for key, value in values.items() if not math.isfinite(value)]
    if bad:
        raise GenerationError(
            f"{name}: {', '.join(bad)} is NaN or infinite at step {step}; lower the learning rate "
            f"(the state of step {saved} stays)"
        )
    return values


def _line(values: Mapping[str, float]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in values.items())


def _logged_step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # a line cut by a crash
        return math.inf


def _differences(before: object, now: object, where: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted({*before, *now})
        return [found for key in keys for found in _differences(before.get(key), now.get(key), f"{where}.{key}")]
    return [] if before == now else [f"{where.strip('.')} ({before} before, {now} now)"]
