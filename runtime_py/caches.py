"""Where what can be made again is kept: one folder of the user's for all caches. It knows none of them."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path | None:
    """The user's cache called `name`, absolute, whether it exists or not; None for a user without a home.

    An XDG_CACHE_HOME that is empty or relative does not count, as its specification says.
    """
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        below = chosen if chosen.is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return below / "edge-export" / name if below.is_absolute() else None
