"""What the fuzzers of the native runtime begin with: files that its readers take, as small as they can be.

    python -m tests.runtime_native.seeds FOLDER

writes FOLDER/corpus-manifest, -tokenizer and -safetensors, and beside each, as FOLDER/<noun>.dict, the words that its
files are made of. They are made by the very code that bundles are made by, so that they follow the contract; it does
not know what a fuzzer makes of them.
"""

import re
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from runtime_py.manifest import dump_manifest
from runtime_py.tokenizer import dump_tokenizer
from tests.runtime_py.test_manifest import MANIFEST
from tests.runtime_py.test_tokenizer_fuzz import TEXT, TINY

WORD = re.compile(rb'"[^"\n]{1,40}"|-?[0-9.]+|true|false')
ODD_WORDS = (b"null", b"[]", b"{}", b"-1", b"0.5", b"1e308", b"1e999", b"18446744073709551615", b"9223372036854775808")
DTYPES = (np.float32, np.float16, np.int32, np.int64)


def seeds() -> dict[str, dict[str, bytes]]:
    """Noun -> file name -> content."""
    tensors = {f"tensor_{dtype.__name__}": np.arange(6, dtype=dtype).reshape(1, 2, 3) for dtype in DTYPES}
    return {
        "manifest": {"manifest.json": dump_manifest(MANIFEST).encode()},
        "tokenizer": {
            "tokenizer.json": dump_tokenizer(TINY).encode(),
            "charsmap": TINY.charsmap,
            "text": TEXT.encode("utf-8", "surrogatepass"),
        },
        "safetensors": {
            "golden.safetensors": save(tensors, metadata={"prompt": "birds"}),
            "empty.safetensors": save({}),
        },
    }


def words(files: dict[str, bytes]) -> list[str]:
    """JSON's words in these files, and some that do not belong there, as libFuzzer's dictionaries write them."""
    found = {word for content in files.values() for word in WORD.findall(content)}
    return [f'"{_escaped(word)}"' for word in sorted(found | set(ODD_WORDS))]


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02X}" for byte in word)


def main(folder: Path) -> None:
    for noun, files in seeds().items():
        corpus = folder / f"corpus-{noun}"
        corpus.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (corpus / name).write_bytes(content)
        (folder / f"{noun}.dict").write_text("\n".join(words(files)) + "\n", encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
