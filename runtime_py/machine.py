"""What this process can say of the machine that it runs on. It knows nothing of models."""


def features_of_all(cpuinfo_text: str) -> tuple[str, ...]:
    """The CPU features that all cores of a /proc/cpuinfo have, in the order of the first core.

    They stand in the `Features` lines of Arm, and in the `flags` lines of x86.
    """
    lines = [line.partition(":") for line in cpuinfo_text.splitlines()]
    cores = [value.split() for key, _, value in lines if key.strip() in ("Features", "flags")]
    return tuple(feature for feature in cores[0] if all(feature in core for core in cores)) if cores else ()
