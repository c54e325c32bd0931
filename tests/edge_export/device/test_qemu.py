"""Emulated CPUs: those on the list, and that what a program reads there is what the emulator computes."""

import subprocess

import pytest

from edge_export.device import qemu
from edge_export.device.place import Task
from edge_export.device.qemu import CPUS, Cpu, cpuinfo, open_qemu
from edge_export.errors import UsageError
from runtime_py.machine import features_of_all

# Prints MIDR_EL1, the hardware capabilities, and the Features line of /proc/cpuinfo.
PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
int main() {
  unsigned long midr;
  __asm__("mrs %0, MIDR_EL1" : "=r"(midr));
  printf("%lx %lx %lx\n", midr, getauxval(AT_HWCAP), getauxval(AT_HWCAP2));
  FILE* file = fopen("/proc/cpuinfo", "r");
  char line[4096];
  while (file && fgets(line, sizeof line, file)) {
    if (!strncmp(line, "Features", 8)) { fputs(line, stdout); break; }
  }
}
"""
# Names of the bits of AT_HWCAP and AT_HWCAP2, from the lowest, as Linux's hwcap.h and /proc/cpuinfo have them.
FIRST = """fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop
    sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg"""
SECOND = """dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16
    i8mm bf16 dgh rng bti mte ecv afp rpres mte3 sme"""


def identity(cpu: Cpu) -> tuple[int, ...]:
    return cpu.implementer, cpu.variant, cpu.part, cpu.revision


def named(bits: int, names: str) -> list[str]:
    return [name for bit, name in enumerate(names.split()) if bits >> bit & 1]


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The program above, compiled for Arm once."""
    folder = tmp_path_factory.mktemp("arm")
    (folder / "cpu.c").write_text(PROGRAM)
    return folder


@pytest.mark.parametrize("name", CPUS)
def test_a_program_reads_the_cpu_that_the_emulator_computes(program, need, name):
    need("aarch64-linux-gnu-gcc", "qemu-aarch64-static")
    binary = program / "cpu"
    if not binary.exists():
        subprocess.run(["aarch64-linux-gnu-gcc", "-static", program / "cpu.c", "-o", binary], check=True)
    place = open_qemu(name)
    with place.workspace(keep=False) as workspace:
        done = workspace.play(Task(bundle="", label="", words=[str(binary)]), lambda _: None)
        assert done.code == 0
    out = subprocess.run([*qemu.command(place.cpu), binary], capture_output=True, text=True, check=True).stdout
    first, features = out.splitlines()
    midr, one, two = (int(word, 16) for word in first.split())
    cpu = place.cpu
    assert cpu.features == (*named(one, FIRST), *named(two, SECOND))
    assert (midr >> 24, midr >> 20 & 15, midr >> 4 & 0xFFF, midr & 15) == identity(cpu)
    assert features_of_all(features) == cpu.features == place.info().cpu_features


def test_sme_is_off_because_the_emulator_computes_it_wrongly():
    assert "sme=off" in CPUS["max"].option
    assert not any("sme" in cpu.features for cpu in CPUS.values())


def test_the_tiers_that_the_project_checks_are_there():
    assert {"i8mm", "bf16", "sve2", "asimddp"} <= set(CPUS["max"].features)
    assert "asimddp" in CPUS["cortex-a76"].features
    assert "i8mm" not in CPUS["cortex-a76"].features
    assert not {"asimddp", "asimdhp"} & set(CPUS["cortex-a72"].features)


def test_an_unknown_cpu_is_refused_with_the_list():
    with pytest.raises(UsageError, match="qemu:max, qemu:cortex-a76, qemu:cortex-a72, qemu:neoverse-n1"):
        open_qemu("z80")


def test_qemu_alone_is_the_most_capable_cpu():
    assert open_qemu(None).label == "qemu:max"


def test_cpuinfo_lists_every_core():
    text = cpuinfo(CPUS["cortex-a76"], 3)
    assert [line for line in text.splitlines() if line.startswith("processor")] == [
        f"processor\t: {core}" for core in range(3)
    ]
    assert "CPU part\t: 0xd0b" in text
