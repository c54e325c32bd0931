"""From a published checkpoint to a bundle that a phone can run."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("edge-export")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
