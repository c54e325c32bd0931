"""How long work reports how far it is; who shows it, and how, is not known here."""

from typing import Protocol


class Progress(Protocol):
    """Called with what is being done, and how much of it: `done` of `total`, in one unit per `what`."""

    def __call__(self, what: str, done: int, total: int, /) -> None: ...


def silent(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""
