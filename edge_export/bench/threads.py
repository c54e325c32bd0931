"""The numbers of threads that a bench is asked for: one, or a list to go through. It measures nothing."""

from edge_export.errors import UsageError
from runtime_py.engine import MOST_THREADS, check_threads
from runtime_py.machine import usable_cores
from runtime_py.text import printable

MOST_PER_CORE = 4  # a sweep beyond that measures the scheduler, for as long as all runs before took together
MOST_SHOWN = 60
EXPECTED = "expected a number such as 2, or several such as 1,2,4"


def read_threads(text: str) -> tuple[int, ...]:
    """The numbers in `text`, in its order.

    Raises:
        UsageError: not a number, or several with commas between; in a list, one twice or far above the cores.
    """
    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        shown = printable(text)
        shown = shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]}..."
        raise UsageError(f"threads is '{shown}', {EXPECTED}") from error
    for count in counts:
        check_threads(count)
    if len(counts) > 1:
        _check_list(counts)
    return counts


def _check_list(counts: tuple[int, ...]) -> None:
    cores = usable_cores()
    most = min(MOST_THREADS, MOST_PER_CORE * cores)
    for index, count in enumerate(counts):
        if count > most:
            raise UsageError(
                f"threads is {count}, expected 1 to {most} in a list: {MOST_PER_CORE} for each of the "
                f"{cores} core{'s' if cores > 1 else ''} here"
            )
        if count in counts[:index]:
            raise UsageError(f"threads has {count} twice; name each number once")
