"""Text from strangers and from shells, made fit for one line of a terminal."""


def printable(text: str) -> str:
    """`text` with a space for every character that would break the line or steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def from_shell(word: str) -> str:
    """A word of the command line as text: a shell may pass any bytes, and what is no UTF-8 becomes U+FFFD."""
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
