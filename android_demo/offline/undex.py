"""A program of its own: Dalvik's byte code back to Java's, by a wheel that is named first. Nothing is skipped."""

import importlib
import sys
from pathlib import Path


def main(wheel: str, out: str, *dexes: str) -> None:
    """Write `out`, a jar, of what is in `dexes`; any class that cannot be translated ends it."""
    sys.path.insert(0, wheel)
    enjarify = importlib.import_module("enjarify.main")
    options = enjarify.Options(
        inline_consts=True, prune_store_loads=True, copy_propagation=True, remove_unused_regs=True
    )
    classes: dict[str, bytes] = {}
    for dex in dexes:
        enjarify.translate(Path(dex).read_bytes(), options, classes, {}, raise_translation_errors=True)
    enjarify.write_jar(out, classes)


if __name__ == "__main__":
    main(*sys.argv[1:])
