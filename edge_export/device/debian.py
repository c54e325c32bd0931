"""A Python for Arm out of Debian's packages.

They are checked against Debian's signature by apt-get in a state of its own, so that this machine's packages stay as
they are. It does not know what the Python is for.
"""

import shutil
from pathlib import Path

from edge_export.device import process
from edge_export.errors import DeviceError, FetchError, MissingDependency
from edge_export.progress import Progress, silent

LOADER = "ld-linux-aarch64.so.1"
TRIPLET = "aarch64-linux-gnu"
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PYTHON = "3.11"  # Debian's in this suite
DEBS = (
    f"python{PYTHON}-minimal",
    f"libpython{PYTHON}-minimal",
    f"libpython{PYTHON}-stdlib",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "libstdc++6",
    "zlib1g",
)
UNUSED = ("__pycache__", "asyncio", "config-*", "idlelib", "lib2to3", "pydoc_data", "sitecustomize.py", "test", "xml")
FETCH_SECONDS = 600.0


def download_debs(scratch: Path, progress: Progress = silent) -> list[Path]:
    """Fetch DEBS below `scratch`, by an apt-get that knows this suite alone and nothing of what is installed here.

    Raises:
        MissingDependency: apt-get, dpkg-deb or Debian's keys are missing.
        FetchError: Debian cannot be reached, or has no such package.
    """
    for command in ("apt-get", "dpkg-deb"):
        if shutil.which(command) is None:
            raise MissingDependency(f"Python for Arm comes from Debian by {command}, which is not installed here")
    if not KEYRING.is_file():
        raise MissingDependency(f"{KEYRING} is missing, Debian's keys: apt-get install debian-archive-keyring")
    state, debs = scratch / "apt", scratch / "debs"
    for folder in (debs, state / "lists" / "partial", state / "cache" / "archives" / "partial"):
        folder.mkdir(parents=True)
    (state / "status").touch()
    (state / "sources.list").write_text(f"deb [arch=arm64 signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
    progress("reading Debian's package list for Arm", 0, 2)
    _apt_get(state, debs, "update")
    progress(f"downloading Python {PYTHON} for Arm", 1, 2)
    _apt_get(state, debs, "download", *DEBS)
    return sorted(debs.glob("*.deb"))


def _apt_get(state: Path, folder: Path, *words: str) -> None:
    settings = {
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": 3,
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    done = process.follow(["apt-get", *options, *words], lambda _: None, folder=folder)
    if done.code != 0:
        causes = [line for line in done.err.splitlines() if "Failed to fetch" in line or line.startswith("E:")]
        cause = (causes or [done.last_line])[0][:300]
        raise FetchError(
            f"cannot fetch Python for Arm from {MIRROR} ({cause}); check the network, then run the same command again"
        )


def unpack_debs(debs: list[Path], scratch: Path, folder: Path) -> None:
    """Take the interpreter, its standard library and the libraries it needs out of Debian's packages.

    Raises:
        DeviceError: a package is damaged, or lacks what it should hold.
    """
    for deb in debs:
        done = process.capture(["dpkg-deb", "--extract", str(deb), str(scratch)], timeout=FETCH_SECONDS)
        if done.code != 0:
            raise DeviceError(f"{deb.name} is damaged ({done.last_line}); run the same command again")
    libraries, standard = folder / "lib", scratch / "usr" / "lib" / f"python{PYTHON}"
    (folder / "bin").mkdir()
    libraries.mkdir()
    try:
        for place in (scratch / "lib" / TRIPLET, scratch / "usr" / "lib" / TRIPLET):
            for path in place.glob("*.so.[0-9]"):  # the names that programs ask for
                shutil.copyfile(path, libraries / path.name)
        shutil.copytree(standard, libraries / standard.name, ignore=shutil.ignore_patterns(*UNUSED))
        for path in (scratch / "usr" / "bin" / f"python{PYTHON}", libraries / LOADER):
            kept = folder / "bin" / path.name if path.parent.name == "bin" else path
            if kept != path:
                shutil.copyfile(path, kept)
            kept.chmod(0o755)
    except FileNotFoundError as error:
        raise DeviceError(f"Debian's packages for Arm hold no {Path(error.filename).name}; report this") from error
