"""ExecuTorch: a part of the network to a `.pte` for XNNPACK.

Quantized by source transform before export; everything XNNPACK can take is delegated to it.
"""

from collections import Counter
from importlib.util import find_spec
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from edge_export.backends.backend import Compiled, check_ports
from edge_export.backends.executorch_shortcuts import origins_shared, unchanged_graphs_kept
from edge_export.backends.memory_executorch import lowered_memory
from edge_export.errors import BuildError, EdgeExportError, MissingDependency
from edge_export.submodules.submodule import Part
from quantization.recipe import Recipe
from runtime_py.errors import first_line
from runtime_py.generation_spec import TensorSpec
from runtime_py.manifest import GraphSpec
from runtime_py.quiet import quiet

SUFFIX = ".pte"
PACKAGES = ("executorch", "torchao")
FLOAT16 = False  # its XNNPACK delegate does not load int8 linears between float16 tensors
METHOD = "forward"
# executorch's ScalarType numbers, from its schema
DTYPES = {3: "int32", 4: "int64", 5: "float16", 6: "float32"}
BOOKKEEPING = ("getitem", "alloc", "executorch_call_delegate")


def compile(part: Part, recipe: Recipe, out: Path) -> Compiled:
    """Write `part` as a `.pte` to `out`; see `edge_export.backends.backend.Backend`."""
    if find_spec("executorch") is None or find_spec("torchao") is None:
        raise MissingDependency("building for ExecuTorch needs it: pip install 'edge-export[executorch]'")
    try:
        with quiet(), origins_shared(), unchanged_graphs_kept():
            lowered = _lower(part, recipe)
            names = tuple(lowered.exported_program().graph_signature.user_inputs)
            top = lowered.exported_program().graph_module
            graph = _graph_spec(top)
            program = lowered.to_executorch()
            (plan,) = program.executorch_program.execution_plan
            memory = lowered_memory(top, planned_bytes=sum(plan.non_const_buffer_sizes))
            with out.open("wb") as file:
                program.write_to_file(file)
            del lowered, top, program, plan
            inputs, outputs = _interface(out, part, names)
    except (EdgeExportError, OSError, MemoryError):
        raise
    except Exception as error:  # a toolchain raises whatever its passes run into
        raise BuildError(f"ExecuTorch could not compile the {part.name}: {first_line(error)}") from error
    return Compiled(inputs=inputs, outputs=outputs, graph=graph, memory=memory)


def _lower(part: Part, recipe: Recipe) -> Any:
    """quantize -> export -> edge dialect -> XNNPACK delegates."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    from quantization.embedding import quantize_embeddings
    from quantization.xnnpack import quantize_convolutions, quantize_linears

    example = part.example_inputs()
    module = part.module
    quantize_embeddings(module, part.stage, recipe)
    quantize_linears(module, part.stage, recipe)
    exported = _export(module, example)
    quantized = quantize_convolutions(exported.module(), module, part.stage, recipe, example)
    return to_edge_transform_and_lower(
        exported if quantized is None else _export(quantized, example),
        partitioner=[XnnpackPartitioner()],
        # The validity check costs a pass over every node and refuses nothing that lowering would not.
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )


def _export(module: nn.Module, example: dict[str, Tensor]) -> ExportedProgram:
    with torch.no_grad():
        return torch.export.export(module, (), kwargs=example, strict=False)


def _graph_spec(top: fx.GraphModule) -> GraphSpec:
    """Count what was delegated and name what was not."""
    outside = Counter(_operator(node) for node in top.graph.nodes if node.op == "call_function")
    delegates = outside["executorch_call_delegate"]
    for name in BOOKKEEPING:
        outside.pop(name, None)
    delegated = 0
    for node in top.graph.nodes:
        if node.op == "get_attr" and node.name.startswith("lowered_module"):
            inner = getattr(top, str(node.target)).original_module.graph_module.graph
            names = [_operator(inner_node) for inner_node in inner.nodes if inner_node.op == "call_function"]
            delegated += sum(name not in BOOKKEEPING for name in names)
    return GraphSpec(delegates=delegates, delegated=delegated, undelegated=dict(sorted(outside.items())))


def _operator(node: fx.Node) -> str:
    """ "cat" of `aten.cat.default`; the plain name of anything else."""
    schema = getattr(node.target, "_schema", None)
    if schema is not None:
        return str(schema.name).split("::")[-1]
    return str(getattr(node.target, "__name__", node.target))


def _interface(
    path: Path, part: Part, traced: tuple[str, ...]
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """What the written program says of its inputs and outputs, held against the part's.

    The file keeps no names. Its inputs stand in the order of the lowered graph's, which are named in `traced`;
    its outputs in that of the tuple that the part returns.
    """
    from executorch.runtime import Runtime

    # Not `load_method`, which would plan the memory of the whole part.
    meta = Runtime.get().load_program(path).metadata(METHOD)
    found_inputs = [meta.input_tensor_meta(index) for index in range(meta.num_inputs())]
    found_outputs = [meta.output_tensor_meta(index) for index in range(meta.num_outputs())]
    returned = tuple(port.name for port in part.outputs)
    return (
        check_ports(part.name, "inputs", part.inputs, _described(traced, found_inputs)),
        check_ports(part.name, "outputs", part.outputs, _described(returned, found_outputs)),
    )


def _described(names: tuple[str, ...], metas: list[Any]) -> list[TensorSpec]:
    """A tensor beyond the names gets none: it is one too many, and refused as that."""
    return [
        TensorSpec(
            name=name,
            position=position,
            dtype=DTYPES.get(int(meta.dtype()), str(meta.dtype())),
            shape=tuple(meta.sizes()),
        )
        for position, (name, meta) in enumerate(zip(chain(names, repeat("")), metas))
    ]
