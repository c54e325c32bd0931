"""A recipe applied to embeddings, before any backend sees them: a table of int8 rows, one scale each.

Looked up, a row becomes float32 again. The table is half of a T5 encoder's size, and no runtime's own quantizer
handles it alike.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quantization.layers import layer_name
from quantization.recipe import FLOAT, INT8_ROWS, Recipe
from runtime_py.errors import UsageError


class Int8Embedding(nn.Module):
    """ids -> rows in float32. Rows are symmetric int8, -127..127."""

    def __init__(self, published: nn.Embedding) -> None:
        super().__init__()
        weight = published.weight.detach()
        scale = weight.abs().amax(1, keepdim=True) / 127
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        self.register_buffer("rows", (weight / scale).round().clamp(-127, 127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.rows: Tensor
        self.scale: Tensor

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.rows).to(self.scale.dtype) * F.embedding(ids, self.scale)


def quantize_embeddings(module: nn.Module, submodule: str, recipe: Recipe) -> None:
    """Exchange, in place, each embedding of `module` for which the recipe has a rule.

    Raises:
        UsageError: the rule asks for more than int8 rows.
    """
    for path, part in list(module.named_modules()):
        if type(part) is not nn.Embedding:
            continue
        rule = recipe.rule_for(submodule, "embedding", layer_name(path))
        if rule.formats not in (INT8_ROWS, FLOAT.formats):
            raise UsageError(
                f"an embedding computes nothing: give {layer_name(path)} int8-channel weights and float32 activations"
            )
        if rule.formats == INT8_ROWS:
            parent, _, name = path.rpartition(".")
            setattr(module.get_submodule(parent), name, Int8Embedding(part))
