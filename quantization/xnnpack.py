"""A recipe applied for XNNPACK: linears before export, convolutions in the exported graph.

It knows modules and their names, not what becomes of the graph.
"""

from typing import Any

from torch import Tensor, fx, nn

from quantization.layers import layer_name
from quantization.recipe import FLOAT, INT8_DYNAMIC, Recipe
from runtime_py.errors import UsageError

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def quantize_linears(module: nn.Module, submodule: str, recipe: Recipe) -> None:
    """Quantize, in place, each linear of `module` for which the recipe has a rule.

    Weights: symmetric int8, one scale per output channel. Activations: asymmetric int8, one scale per token
    (row), chosen at run time. Helper linears that a rewrite adds keep float32: they are no `nn.Linear`.
    """
    import torch
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerAxis

    wanted = {name for name, layer in _layers(module, (nn.Linear,)) if _quantizes(recipe, submodule, "linear", name)}
    config = Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int8, weight_granularity=PerAxis(0))
    quantize_(module, config, filter_fn=lambda _, name: name in wanted)


def quantize_convolutions(
    exported: fx.GraphModule, module: nn.Module, submodule: str, recipe: Recipe, example: dict[str, Tensor]
) -> fx.GraphModule | None:
    """`exported` with each two-dimensional convolution of `module` quantized for which the recipe has a rule.

    None when there is none. Weights: symmetric int8, one scale per output channel. Activations: asymmetric
    int8, one scale per tensor, chosen at run time: `example` only makes the observers run once.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    convolutions = _layers(module, CONVOLUTIONS)
    wanted = {name for name, _ in convolutions if _quantizes(recipe, submodule, "conv", name)}
    if not wanted:
        return None
    quantizer = XNNPACKQuantizer()
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True))
    # Not by `set_module_name`: weights carry no module's name, and a pattern without one is passed over.
    quantizer.set_filter_function(lambda node: node.op != "call_function" or _module_of(node) in wanted)
    _read_each_alone(exported)
    prepared = prepare_pt2e(exported, quantizer)
    prepared(**example)
    return convert_pt2e(prepared)


def _read_each_alone(module: fx.GraphModule) -> None:
    """Give every operator a node of its own to read its weights from.

    XNNPACKQuantizer takes an operator for quantized once its weights are, and would leave each later call of a
    module in float32.
    """
    for node in module.graph.find_nodes(op="get_attr"):
        for user in list(node.users)[1:]:
            with module.graph.inserting_before(user):
                alone = module.graph.get_attr(node.target)
            alone.meta = dict(node.meta)
            user.replace_input_with(node, alone)
    module.recompile()


def _module_of(node: fx.Node) -> str:
    """The path of the innermost module that `node` was traced in."""
    names = [name for name, _ in node.meta.get("nn_module_stack", {}).values()]
    return str(names[-1]) if names else ""


def _layers(module: nn.Module, kinds: tuple[type, ...]) -> list[tuple[str, Any]]:
    return [(name, layer) for name, layer in module.named_modules() if type(layer) in kinds]


def _quantizes(recipe: Recipe, submodule: str, operator: str, name: str) -> bool:
    """Whether the recipe makes the layer at path `name` int8."""
    rule = recipe.rule_for(submodule, operator, layer_name(name))
    if rule.formats not in (INT8_DYNAMIC, FLOAT.formats):
        raise UsageError(
            f"XNNPACK cannot compute {layer_name(name)} with {rule.weights} weights and {rule.activations} "
            "activations; give it int8-channel and int8-dynamic"
        )
    return rule.formats == INT8_DYNAMIC
