"""A run: its folder, what each stage needs of those before it, and the stages by name.

RUN/clips/        captioned audio             RUN/analysis.safetensors  what latents are, by the first clips
RUN/spiece.model  trained on the captions     RUN/latents/              of all clips
RUN/autoencoder/  stage 1                     RUN/flow/                 stage 2, which does not need stage 1
RUN/arc/          stage 3 (arc-no-contrastive/ ... for ablations)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edge_export.errors import UsageError
from edge_export.progress import Progress, silent
from post_training import arc, autoencoder, flow
from post_training.analysis import ANALYSIS_FILE, Analysis, fitted
from post_training.arc import ArcStage
from post_training.autoencoder import AutoencoderStage, as_loud, load_autoencoder
from post_training.clips import Clips, Draw, Plan, make_clips, make_folder, open_clips, write_whole
from post_training.config import Config, StageSettings
from post_training.data import Examples, Latents, analyse_clips
from post_training.flow import FlowStage, load_flow
from post_training.loop import STATE_FILE, Note, Reached, RunFolder, document, make_accelerator, run_stage
from post_training.network import Autoencoder, Flow
from post_training.publish import Trained
from post_training.start import Start
from post_training.text import train_spiece

if TYPE_CHECKING:
    from accelerate import Accelerator

STAGES = (autoencoder.NAME, flow.NAME, arc.NAME)
SPIECE_FILE = "spiece.model"
CAPTIONS_FOR_PIECES = 20_000

AnyStage = AutoencoderStage | FlowStage | ArcStage


def _quiet(_line: str) -> None:
    pass


@dataclass(frozen=True)
class Run:
    """One config in one folder. `clips_folder`: clips made elsewhere; None makes them in the run's own. `start`: what
    the stages begin with, and what takes the place of those that are not run.
    """

    folder: Path
    config: Config
    draw: Draw
    clips_folder: Path | None = None
    start: Start | None = None
    note: Note = _quiet
    progress: Progress = silent
    deadline: float = field(default=math.inf)

    @cached_property
    def accelerator(self) -> "Accelerator":
        return make_accelerator()

    @cached_property
    def clips(self) -> Clips:
        plan = Plan(seed=self.config.seed, samples=self.config.network.samples, data=self.config.data)
        if self.clips_folder is not None:
            return open_clips(self.clips_folder, plan)
        with self.accelerator.main_process_first():
            return make_clips(self.folder / "clips", plan, self.draw, self.progress)

    @cached_property
    def analysis(self) -> Analysis:
        """What latents are: the start's, or fitted to the first clips when it is first asked for."""
        path = self.folder / ANALYSIS_FILE
        make_folder(self.folder)
        with self.accelerator.main_process_first():
            if self.start is not None and not path.exists():
                write_whole(path, self.start.analysis)
            return fitted(path, self.clips)

    @cached_property
    def latents(self) -> Latents:
        with self.accelerator.main_process_first():
            return analyse_clips(
                self.folder / "latents", self.clips, self.analysis, self.accelerator.device, self.progress
            )

    @cached_property
    def spiece(self) -> bytes:
        """The tokenizer's model: the start's, or trained on the first captions when it is first asked for."""
        if self.start is not None:
            return self.start.spiece
        path = self.folder / SPIECE_FILE
        if not path.exists():
            write_whole(path, train_spiece(self.clips.captions[:CAPTIONS_FOR_PIECES], self.config.network.pieces))
        return path.read_bytes()

    @cached_property
    def examples(self) -> Examples:
        return Examples(self.latents, self.spiece, self.config.network.tokens, self.accelerator.device)

    def stage_folder(self, name: str) -> RunFolder:
        return RunFolder(self.folder / name)

    def train(self, name: str) -> Reached:
        """Run one stage, from where it was left.

        Raises:
            UsageError: no such stage, a stage before it has not run, or the folder is another config's.
            CheckpointError, GenerationError, OutputError: see `loop.run_stage`.
        """
        make, settings, parts = self._stage(name)
        label = name if name != arc.NAME else arc_label(self.config)
        folder = self.stage_folder(label)
        begun = {} if self.start is None else {"start": self.start.checkpoint.sha256}
        claimed = document(self.config, *parts) | begun
        folder.check(claimed)
        stage = make()
        try:
            folder.claim(claimed)  # not before: what is refused leaves nothing
            return run_stage(
                label, stage, folder, settings, self.config.seed, self.accelerator, self.note, self.deadline
            )
        finally:
            stage.close()

    def ran(self, name: str) -> dict[str, int]:
        """Of stage `name` and those under it, the ones that were run, and how many steps each has done."""
        states = {each: self.stage_folder(each).load() for each in (autoencoder.NAME, flow.NAME, name)}
        return {each: state["step"] for each, state in states.items() if state is not None}

    def trained(self, name: str) -> Trained:
        """What stage `name` (a folder of the run: "arc", "flow", ...) came to, with the autoencoder under it."""
        trained_autoencoder, trained_flow = self._autoencoder(), self._flow(name)  # before clips are made for nothing
        return Trained(
            network=self.config.network,
            autoencoder=as_loud(trained_autoencoder, self.analysis.to("cpu"), self.clips),
            flow=trained_flow,
            spiece=self.spiece,
            analysis=(self.folder / ANALYSIS_FILE).read_bytes(),
        )

    def _stage(self, name: str) -> tuple[Callable[[], AnyStage], StageSettings, tuple[str, ...]]:
        config = self.config
        if name == autoencoder.NAME:
            return (
                lambda: AutoencoderStage(config, self.clips, self.analysis, self.accelerator, self.start),
                config.autoencoder,
                autoencoder.SETTINGS,
            )
        if name == flow.NAME:
            return (
                lambda: FlowStage(config, self.examples, self.accelerator, self.start),
                config.flow,
                flow.SETTINGS,
            )
        if name == arc.NAME:
            return lambda: self._arc(), config.arc, arc.SETTINGS
        raise UsageError(f"unknown stage {name!r}; choose one of {', '.join(STAGES)}")

    def _arc(self) -> ArcStage:
        return ArcStage(self.config, self._flow(flow.NAME), self.examples, self.accelerator)

    def _flow(self, name: str) -> Flow:
        """What stage `name` came to; where the run has no flow of its own, its start's."""
        folder = self.stage_folder(name)
        if name == flow.NAME and self.start is not None and not folder.has_state:
            return self.start.flow()
        if not folder.has_state and name != flow.NAME:
            there = sorted(path.parent.name for path in self.folder.glob(f"*/{STATE_FILE}"))
            raise UsageError(f"no stage {name!r} in {self.folder}; there is {', '.join(there) or 'none'}")
        return load_flow(folder, self.config.network)

    def _autoencoder(self) -> Autoencoder:
        """What stage 1 came to; where the run has none of its own, its start's."""
        folder = self.stage_folder(autoencoder.NAME)
        if self.start is not None and not folder.has_state:
            return self.start.autoencoder()
        return load_autoencoder(folder, self.config.network)


def arc_label(config: Config) -> str:
    """The folder of a post-training: "arc", with what is ablated behind it."""
    label = arc.NAME
    if config.arc.contrastive_weight == 0:
        label += "-no-contrastive"
    if config.arc.adversary != "relativistic":
        label += f"-{config.arc.adversary}"
    return label


def with_steps(config: Config, name: str, steps: int | None) -> Config:
    """The config with another number of steps for one stage."""
    if steps is None:
        return config
    if steps < 1:
        raise UsageError(f"--steps is {steps}, expected 1 or more")
    if name == autoencoder.NAME:
        return replace(config, autoencoder=replace(config.autoencoder, steps=steps))
    if name == flow.NAME:
        return replace(config, flow=replace(config.flow, steps=steps))
    return replace(config, arc=replace(config.arc, steps=steps))


def ablated(config: Config, *, contrastive: bool, least_squares: bool) -> Config:
    """The config with the flags of an ablation."""
    settings = config.arc
    if not contrastive:
        settings = replace(settings, contrastive_weight=0.0)
    if least_squares:
        settings = replace(settings, adversary="least-squares")
    return replace(config, arc=settings)
