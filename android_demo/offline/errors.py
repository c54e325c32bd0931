"""What a tool of this build found wrong: one line for the user, and what the tool itself printed before it."""

from edge_export.errors import BuildError


class ToolFailed(BuildError):
    """A compiler, a test or a check says no. `printed`: the tool's own lines, in which a reader finds why."""

    def __init__(self, message: str, printed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.printed = printed
