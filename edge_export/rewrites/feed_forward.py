"""Given: a gated linear whose projection is split in two.
Result: two linears.
Why: the split is an operator that XNNPACK does not take, and each half is read once either way.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from edge_export.model.config import ModelConfig
from edge_export.model.dit import GatedLinear
from edge_export.rewrites.replace import replace_each, split_linear


class SplitGatedLinear(nn.Module):
    """value(x) * silu(gate(x))."""

    def __init__(self, published: GatedLinear) -> None:
        super().__init__()
        self.value, self.gate = split_linear(published.proj, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.value(x) * F.silu(self.gate(x))


def split_gated_linear(module: nn.Module, _config: ModelConfig) -> nn.Module:
    return replace_each(module, GatedLinear, SplitGatedLinear)
