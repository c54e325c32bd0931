"""Writes a LiteRT model anew: each vector once however often it occurs, and weights where kernels want them.

litert-quantizer writes a zero for every channel of every weight: at the published size that is 3 MB. It knows the
file format alone, and changes nothing that a runtime reads.
"""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
WEIGHTS_ALIGNMENT = 16
LARGEST_SHARED = 1 << 16
NO_DATA = 1  # the converter keeps data behind the model, found by an offset; this one or less stands for none
ROOM = 1 << 20

# Metadata that LiteRT's XNNPACK delegate looks for: arithmetic and sums in float16.
FLOAT16_KEY, FLOAT16_VALUE = b"reduced_precision_support", b"fp16accfp16"


def rewritten(program: bytes, float16: bool) -> bytes:
    """The same model, smaller. With `float16` it has a mark that lets XNNPACK compute in float16 what is float32,
    where the CPU is good at it."""
    model = schema.ModelT.InitFromPackedBuf(program, 0)
    for buffer in model.buffers:
        if buffer.offset > NO_DATA:
            buffer.data = np.frombuffer(program, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    if float16:
        value = schema.BufferT()
        value.data = np.frombuffer(FLOAT16_VALUE, np.uint8)
        mark = schema.MetadataT()
        mark.name, mark.buffer = FLOAT16_KEY, len(model.buffers)
        model.buffers.append(value)
        model.metadata = [*(model.metadata or ()), mark]
    builder = SharingBuilder(len(program) + ROOM)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class SharingBuilder(flatbuffers.Builder):
    """A builder that writes small equal vectors once, and bytes aligned as weights are."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        if x.dtype == np.uint8:
            # EndVector's own alignment is that of bytes: this comes before it and stays true.
            self.Prep(WEIGHTS_ALIGNMENT, x.nbytes)
        if x.nbytes > LARGEST_SHARED:
            return int(super().CreateNumpyVector(x))
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = int(super().CreateNumpyVector(x))
        return self._written[key]
