"""Emulated Arm CPUs as places to play a bundle: qemu's user mode, the runner with its own loader and libraries.

It knows which CPUs the project checks, and what each looks like to a program; nothing of phones.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage

from edge_export.device import process
from edge_export.device.local import LocalWorkspace, local_workspace
from edge_export.device.place import ARM, Payload, PlaceInfo, PlaceStatus
from edge_export.device.readiness import lacking
from edge_export.device.store import one_writer, store
from edge_export.device.tools import require
from edge_export.errors import DeviceError, UsageError
from edge_export.progress import Progress
from runtime_py.files import replace_file

DEFAULT_CPU = "max"


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """A CPU under emulation. option: after -cpu. The rest as Linux has it in /proc/cpuinfo."""

    name: str
    summary: str
    option: str
    implementer: int
    variant: int
    part: int
    revision: int
    features: tuple[str, ...]


# Read with getauxval(AT_HWCAP, AT_HWCAP2) and MIDR_EL1 under qemu 7.2; a test holds them against the installed one.
_A72 = "fp asimd aes pmull sha1 sha2 crc32 cpuid"
_A76 = "fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
_MAX = (
    "fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 sm4 "
    "asimddp sha512 sve asimdfhm ilrcpc flagm sb paca pacg dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 "
    "flagm2 frint svei8mm svef32mm svef64mm svebf16 i8mm bf16 rng bti mte"
)

CPUS: dict[str, Cpu] = {
    cpu.name: cpu
    for cpu in (
        Cpu(
            name="max",
            summary="i8mm, bf16, SVE2: phones of today",
            # The emulator computes SME wrongly: kernels that use it give other numbers than any real CPU.
            option="max,sme=off",
            implementer=0x00,
            variant=0x0,
            part=0x051,
            revision=0,
            features=tuple(_MAX.split()),
        ),
        Cpu(
            name="cortex-a76",
            summary="dotprod, fp16: phones since 2018",
            option="cortex-a76",
            implementer=0x41,
            variant=0x4,
            part=0xD0B,
            revision=1,
            features=tuple(_A76.split()),
        ),
        Cpu(
            name="cortex-a72",
            summary="plain NEON: older phones and boards",
            option="cortex-a72",
            implementer=0x41,
            variant=0x0,
            part=0xD08,
            revision=3,
            features=tuple(_A72.split()),
        ),
        Cpu(
            name="neoverse-n1",
            summary="dotprod, fp16: servers",
            option="neoverse-n1",
            implementer=0x41,
            variant=0x4,
            part=0xD0C,
            revision=1,
            features=tuple(_A76.split()),
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class QemuPlace:
    cpu: Cpu

    @property
    def label(self) -> str:
        return f"qemu:{self.cpu.name}"

    def info(self) -> PlaceInfo:
        emulator = require("qemu", "qemu")
        known = process.capture([emulator, "-cpu", "help"], timeout=60)
        if self.cpu.name not in known.out.split():
            raise DeviceError(
                f"{emulator} has no CPU {self.cpu.name} ({known.last_line}); install qemu-user-static 7.2 or later"
            )
        free = disk_usage(tempfile.gettempdir()).free
        return PlaceInfo(machine=ARM, cpu_features=self.cpu.features, cores=os.cpu_count() or 1, free=free)

    def push(self, payload: Payload, progress: Progress) -> None:
        progress(f"{payload.name} is here", 1, 1)

    def workspace(self, *, keep: bool) -> AbstractContextManager[LocalWorkspace]:
        return local_workspace(self.label, keep=keep, before=command(self.cpu))


def open_qemu(detail: str | None) -> QemuPlace:
    """The place with this CPU, by default the most capable one; UsageError lists the choices."""
    name = detail or DEFAULT_CPU
    if name not in CPUS:
        raise UsageError(f"no emulated CPU called {name!r}; choose from {', '.join(f'qemu:{cpu}' for cpu in CPUS)}")
    return QemuPlace(cpu=CPUS[name])


def list_cpus() -> Iterator[PlaceStatus]:
    lacks = lacking("qemu")
    for cpu in CPUS.values():
        yield PlaceStatus(where=f"qemu:{cpu.name}", what=cpu.summary, lacks=lacks)


def command(cpu: Cpu) -> tuple[str, ...]:
    """What stands before an Arm command line: the emulator, its CPU, and a prefix with this CPU's own files."""
    return (require("qemu", "qemu"), "-cpu", cpu.option, "-L", str(prefix(cpu)))


def prefix(cpu: Cpu) -> Path:
    """A folder that the emulator shows in front of this machine's files: /proc/cpuinfo would be this machine's."""
    cores = os.cpu_count() or 1
    folder = store("qemu", f"{cpu.name}-{cores}")
    text = cpuinfo(cpu, cores)
    file = folder / "proc" / "cpuinfo"
    with one_writer("qemu"):
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(file, text.encode())
    return folder


def cpuinfo(cpu: Cpu, cores: int) -> str:
    """/proc/cpuinfo as Linux on Arm writes it."""
    lines = (
        "BogoMIPS\t: 100.00",
        f"Features\t: {' '.join(cpu.features)}",
        f"CPU implementer\t: 0x{cpu.implementer:02x}",
        "CPU architecture: 8",
        f"CPU variant\t: 0x{cpu.variant:x}",
        f"CPU part\t: 0x{cpu.part:03x}",
        f"CPU revision\t: {cpu.revision}",
    )
    return "".join("\n".join((f"processor\t: {core}", *lines, "", "")) for core in range(cores))
