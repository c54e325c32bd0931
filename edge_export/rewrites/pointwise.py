"""Given: 1x1 convolutions with a residual before and after the transformer's own projections.
Result: one projection each, the residual inside its weights: W_in (1 + W_pre), (1 + W_post) W_out.
Why: it is linear all the way, and a convolution between transposes costs copies.
"""

import torch
from torch import Tensor, nn

from edge_export.model.config import ModelConfig
from edge_export.model.dit import Dit
from edge_export.rewrites.replace import linear, replace_each


class FoldedDit(nn.Module):
    """The dit without its 1x1 convolutions, for one clip: same inputs, same output."""

    def __init__(self, published: Dit) -> None:
        super().__init__()
        self.timestep_features = published.timestep_features
        self.to_timestep_embed = published.to_timestep_embed
        self.to_cond_embed = published.to_cond_embed
        self.to_global_embed = published.to_global_embed
        self.transformer = published.transformer
        before, after = (
            conv.weight[:, :, 0] + torch.eye(conv.weight.shape[0])
            for conv in (published.preprocess_conv, published.postprocess_conv)
        )
        self.transformer.project_in = linear(self.transformer.project_in.weight @ before)
        self.transformer.project_out = linear(after @ self.transformer.project_out.weight)

    def forward(self, latent: Tensor, sigma: Tensor, cross_attn_cond: Tensor, global_cond: Tensor) -> Tensor:
        timestep = self.to_timestep_embed(self.timestep_features(sigma.reshape(1, 1)))
        prepended = (self.to_global_embed(global_cond) + timestep).reshape(1, 1, -1)
        x = self.transformer(latent.permute(0, 2, 1), prepended, self.to_cond_embed(cross_attn_cond))
        return x[:, 1:, :].permute(0, 2, 1)


def fold_pointwise_convolutions(module: nn.Module, _config: ModelConfig) -> nn.Module:
    return replace_each(module, Dit, FoldedDit)
