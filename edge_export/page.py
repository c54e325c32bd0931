"""Pages of one HTML file that need no network and hold no scripts: the loader of their templates, and what they embed.

It knows no page. jinja2 is imported when one is asked for.
"""

from base64 import b64encode
from typing import TYPE_CHECKING

from edge_export.errors import MissingDependency

if TYPE_CHECKING:
    from jinja2 import Environment


def require_page(*packages: str) -> None:
    """MissingDependency when a page cannot be made: asked before the work that it is to show, not after."""
    from importlib.util import find_spec

    missing = [name for name in ("jinja2", "matplotlib", *packages) if find_spec(name) is None]
    if missing:
        raise MissingDependency(f"reports need {' and '.join(missing)}: pip install 'edge-export[report]'")


def templates(package: str) -> "Environment":
    """The templates of `package`: all text is escaped, and a name that is not given is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def embedded(kind: str, content: bytes) -> str:
    """A data URL of `content`, whose media type is `kind`."""
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"
