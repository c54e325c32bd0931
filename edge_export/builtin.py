"""The checkpoint used when none is given: the project's own small model, which lies in the package.

`post_training` made it; its model card says how.
"""

from pathlib import Path

BUILTIN_NAME = "built-in"
BUILTIN_CHECKPOINT = Path(__file__).with_name("small_model")
