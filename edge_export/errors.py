"""Every error that reaches a user, with its exit code.

    EdgeExportError              1   the root
      UsageError                 2   an unknown name, a value out of range
      CheckpointError            3   missing, truncated, foreign or malicious checkpoint
      BundleError                4   missing, altered, later or unsafe bundle
      VerificationError          5   a stage is below its recipe's threshold
      OutputError                6   the result cannot be written
        ReaderGone             141   who read the pipe has left; nothing is said of it
      BuildError                 7   a toolchain failed to export, quantize or lower
      MissingDependency          8   an optional package is not installed
      FetchError                 9   the hub cannot be reached, or refuses
      GenerationError           10   a program failed, or made NaN
      DeviceError               11   a device is gone, unauthorised, full, or its CPU lacks a feature
      RecordError               12   no record of a run, or one of another version or bundle
    (Ctrl-C)                   130
    (SIGTERM)                  143

Each message is one line: what, where, what to do next. Only `runtime_py.command_line` prints it.
"""

from runtime_py.errors import (
    BundleError,
    DeviceError,
    EdgeExportError,
    GenerationError,
    MissingDependency,
    OutputError,
    ReaderGone,
    RecordError,
    UsageError,
)

__all__ = [
    "BuildError",
    "BundleError",
    "CheckpointError",
    "DeviceError",
    "EdgeExportError",
    "FetchError",
    "GenerationError",
    "MissingDependency",
    "OutputError",
    "ReaderGone",
    "RecordError",
    "UsageError",
    "VerificationError",
]


class CheckpointError(EdgeExportError):
    """The checkpoint is missing, truncated, of another model, or unsafe to read."""

    exit_code = 3


class VerificationError(EdgeExportError):
    """A bundle's numbers are further from the reference than its recipe allows."""

    exit_code = 5


class BuildError(EdgeExportError):
    """A toolchain failed while exporting, quantizing or lowering a submodule."""

    exit_code = 7


class FetchError(EdgeExportError):
    """A download failed: no network, no permission, or a licence not yet accepted."""

    exit_code = 9
