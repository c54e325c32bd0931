"""Given: 1x1 convolutions with a residual before and after the transformer's own projections.
Result: one projection each, the residual inside its weights: W_in (1 + W_pre), (1 + W_post) W_out.
Why: it is linear all the way, and a convolution between transposes costs copies.
"""

import torch
from torch import Tensor, nn

from edge_export.model.config import ModelConfig
from edge_export.model.dit import Context
from edge_export.rewrites.cross_keys import DitFromKeys
from edge_export.rewrites.replace import linear, replace_each

FOLDED = ("preprocess_conv", "postprocess_conv")


class FoldedDit(DitFromKeys):
    """The dit without its 1x1 convolutions, for one clip: same inputs, same output."""

    def __init__(self, published: DitFromKeys) -> None:
        nn.Module.__init__(self)
        for name, child in published.named_children():
            if name not in FOLDED:
                self.add_module(name, child)
        weights = (published.get_submodule(name).get_parameter("weight")[:, :, 0] for name in FOLDED)
        before, after = (weight + torch.eye(weight.shape[0]) for weight in weights)
        self.transformer.project_in = linear(self.transformer.project_in.weight @ before)
        self.transformer.project_out = linear(after @ self.transformer.project_out.weight)

    def velocity(self, latent: Tensor, sigma: Tensor, context: Context, global_cond: Tensor) -> Tensor:
        timestep = self.to_timestep_embed(self.timestep_features(sigma.reshape(1, 1)))
        prepended = (self.to_global_embed(global_cond) + timestep).reshape(1, 1, -1)
        x = self.transformer(latent.permute(0, 2, 1), prepended, context)
        return x[:, 1:, :].permute(0, 2, 1)


def fold_pointwise_convolutions(module: nn.Module, _config: ModelConfig) -> nn.Module:
    return replace_each(module, DitFromKeys, FoldedDit)
