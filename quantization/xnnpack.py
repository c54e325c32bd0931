"""A recipe applied for XNNPACK: linears become int8 before export. It knows modules, not graphs."""

from torch import nn

from quantization.recipe import Recipe, Rule


def quantize_linears(module: nn.Module, submodule: str, recipe: Recipe) -> None:
    """Quantize, in place, each linear of `module` for which the recipe has a rule.

    Weights: symmetric int8, one scale per output channel. Activations: asymmetric int8, one scale per token
    (row), chosen at run time. Helper linears that a rewrite adds keep float32: they are no `nn.Linear`.
    """
    import torch
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerAxis

    def wanted(candidate: nn.Module, name: str) -> bool:
        if type(candidate) is not nn.Linear:
            return False
        rule = recipe.rule_for(submodule, "linear", name.removeprefix("module."))
        _refuse_unknown(rule)
        return rule.weights == "int8-channel"

    config = Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int8, weight_granularity=PerAxis(0))
    quantize_(module, config, filter_fn=wanted)


def _refuse_unknown(rule: Rule) -> None:
    pair = (rule.weights, rule.activations)
    if pair not in (("float32", "float32"), ("int8-channel", "int8-dynamic")):
        raise ValueError(f"XNNPACK has no linear with weights {rule.weights} and activations {rule.activations}")
