"""How much memory a generation will need."""
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MemorySpec:
    packed_bytes: int
    working_bytes: int
