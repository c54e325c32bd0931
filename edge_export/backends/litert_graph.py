"""What is in a `.tflite`: which operations XNNPACK takes, and which layer of the network each operation is.

It reads a program through LiteRT's interpreter and knows neither how it was made nor recipes.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from quantization.litert import Layer
from runtime_py.manifest import GraphSpec

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

DELEGATE = "DELEGATE"
WEIGHTED = ("FULLY_CONNECTED", "CONV_2D", "TRANSPOSE_CONV")
CONVS = (nn.Conv1d, nn.Conv2d)
TRANSPOSED_CONVS = (nn.ConvTranspose1d, nn.ConvTranspose2d)
WEIGHT = 1  # the place of the weights among the inputs of each of these


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operation of the main graph; its tensors by index, -1 for one left out."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def open_graph(program: bytes) -> "Interpreter":
    """An interpreter to read `program` with: the graph as it is in the file, no memory planned."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    return Interpreter(
        model_content=program, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )


def ops_in(interpreter: "Interpreter") -> list[Op]:
    """The main graph's operations. Those a delegate took stay listed, and the delegate's calls are listed too."""
    return [
        Op(kind=op["op_name"], inputs=tuple(map(int, op["inputs"])), outputs=tuple(map(int, op["outputs"])))
        for op in interpreter._get_ops_details()
    ]


def graph_spec(interpreter: "Interpreter") -> GraphSpec:
    """What XNNPACK took of a program whose memory is planned.

    The interpreter does not say which operations went into a delegate's call, but they are just those between
    the call's inputs and its outputs.
    """
    listed = ops_in(interpreter)
    ops, calls = [op for op in listed if op.kind != DELEGATE], [op for op in listed if op.kind == DELEGATE]
    maker = {tensor: index for index, op in enumerate(ops) for tensor in op.outputs}
    taken: set[int] = set()
    for call in calls:
        wanted = [tensor for tensor in call.outputs if tensor in maker]
        while wanted:
            index = maker[wanted.pop()]
            if index not in taken:
                taken.add(index)
                wanted += [tensor for tensor in ops[index].inputs if tensor in maker and tensor not in call.inputs]
    left = Counter(op.kind for index, op in enumerate(ops) if index not in taken)
    return GraphSpec(delegates=len(calls), delegated=len(taken), undelegated=dict(sorted(left.items())))


def weights_dtypes(interpreter: "Interpreter") -> dict[str, str]:
    """dtype of the weights of each linear and convolution, by the name of the tensor that it writes."""
    return {
        _tensor_name(interpreter, op): np.dtype(interpreter._get_tensor_details(op.inputs[WEIGHT], 0)["dtype"]).name
        for op in ops_in(interpreter)
        if op.kind in WEIGHTED
    }


def layers_in(interpreter: "Interpreter", traced: nn.Module, network: nn.Module) -> tuple[Layer, ...]:
    """The operations that are linears and convolutions of `network`, a part of what was `traced`, by their names.

    An operation is a layer when it has its weights, number for number. Where the converter folded a scale into
    them, the name of the tensor it writes tells, which lists the modules it comes from. An operation that is
    neither, like attention's product of two activations or a mean written as a product, is no layer; nor is
    one that could be several.
    """
    known = [Known.of(name, network, _path_of(network, traced)) for name in layer_operators(network)]
    constant = _constants(interpreter)
    layers = []
    for op in ops_in(interpreter):
        if op.kind in WEIGHTED and op.inputs[WEIGHT] in constant:
            weights, scope = interpreter.get_tensor(op.inputs[WEIGHT]), _tensor_name(interpreter, op)
            match = _match(known, weights, scope)
            if match is not None:
                layers.append(Layer(name=match.name, operator=match.operator, op=op.kind, scope=scope))
    return tuple(layers)


def layer_operators(network: nn.Module) -> dict[str, str]:
    """The operator, as rules call it, of every linear and convolution of `network`, by name."""
    return {
        name: "linear" if isinstance(module, nn.Linear) else "conv"
        for name, module in network.named_modules()
        if isinstance(module, (nn.Linear, *CONVS, *TRANSPOSED_CONVS))
    }


@dataclass(frozen=True, kw_only=True)
class Known:
    """A layer of the network: its weights as LiteRT keeps them, and its path as LiteRT's names spell it."""

    name: str
    operator: str
    weights: np.ndarray
    path: tuple[str, ...]

    @classmethod
    def of(cls, name: str, network: nn.Module, above: tuple[str, ...]) -> "Known":
        module = network.get_submodule(name)
        return cls(
            name=name,
            operator=layer_operators(module)[""],
            weights=_as_kept(module),
            path=above + _path_of(module, network)[1:],
        )

    def has(self, weights: np.ndarray) -> bool:
        """Equal weights; the first row is asked first, for most differ there."""
        return np.array_equal(self.weights[:1], weights[:1]) and np.array_equal(self.weights, weights)

    def is_named_in(self, scope: str) -> bool:
        """Whether one of the paths in `scope` is this layer's. Containers that are never called are not in paths."""
        return any(_is_path_to(path.split("/"), self.path) for path in scope.split(";"))


def _match(known: list[Known], weights: np.ndarray, scope: str) -> Known | None:
    of_shape = [layer for layer in known if layer.weights.shape == weights.shape]
    equal = [layer for layer in of_shape if layer.has(weights)]
    if len(equal) == 1:
        return equal[0]
    named = [layer for layer in equal or of_shape if layer.is_named_in(scope)]
    return named[0] if len(named) == 1 else None


def _as_kept(layer: nn.Module) -> np.ndarray:
    """The layer's weights in LiteRT's order: [out, in], or [out, height, width, in], where 1-D has height 1."""
    weight: np.ndarray = layer.get_parameter("weight").detach().numpy()
    if isinstance(layer, nn.Linear):
        return weight
    if isinstance(layer, TRANSPOSED_CONVS):
        weight = weight.swapaxes(0, 1)
    if weight.ndim == 3:
        weight = weight[:, :, None, :]
    return weight.transpose(0, 2, 3, 1)


def _path_of(module: nn.Module, root: nn.Module) -> tuple[str, ...]:
    """The modules from `root` to `module`, each as class and own name: the form of LiteRT's tensor names."""
    name = next(name for name, candidate in root.named_modules() if candidate is module)
    parts = name.split(".") if name else []
    below = [root.get_submodule(".".join(parts[: end + 1])) for end in range(len(parts))]
    return (_class_name(root), *(f"{_class_name(part)}_{last}" for part, last in zip(below, parts)))


def _class_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _is_path_to(path: list[str], layer: tuple[str, ...]) -> bool:
    rest = iter(layer)
    return path[-1] == layer[-1] and all(piece in rest for piece in path)


def _constants(interpreter: "Interpreter") -> set[int]:
    computed = {tensor for op in ops_in(interpreter) for tensor in op.outputs}
    given = {tensor["index"] for tensor in interpreter.get_input_details()}
    read = {tensor for op in ops_in(interpreter) for tensor in op.inputs if tensor >= 0}
    return read - computed - given


def _tensor_name(interpreter: "Interpreter", op: Op) -> str:
    return str(interpreter._get_tensor_details(op.outputs[0], 0)["name"])
