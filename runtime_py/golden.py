"""The golden vectors that came with a bundle, and the request they are of (see `edge_export.golden` for their names).

It knows how to read them, neither how they were made nor how near to them is near enough.
"""

from runtime_py.bundle import Bundle
from runtime_py.engine import Tensors
from runtime_py.errors import BundleError
from runtime_py.generate import Request
from runtime_py.manifest import Manifest
from runtime_py.safetensors import read_safetensors


def golden_request(manifest: Manifest) -> Request:
    golden = manifest.golden
    return Request(prompt=golden.prompt, seconds=golden.seconds, seed=golden.seed, steps=golden.steps)


def read_golden(bundle: Bundle) -> Tensors:
    """The bundle's golden vectors, held against the manifest's shapes.

    Raises:
        BundleError: left out, no safetensors file, or not the tensors that this bundle's programs take and make.
    """
    path = bundle.path(bundle.manifest.golden)
    if not path.exists():
        raise BundleError(f"{path} was left out of this bundle, so nothing can be proven; copy it from the build")
    tensors = read_safetensors(path)
    expected = golden_layout(bundle.manifest)
    found = {name: (array.dtype.name, array.shape) for name, array in tensors.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            is_now, wanted = found.get(name, "missing"), expected.get(name, "nothing of that name")
            raise BundleError(f"{path}: {name[:60]} is {is_now}, expected {wanted}; rebuild the bundle")
    return tensors


def golden_layout(manifest: Manifest) -> dict[str, tuple[str, tuple[int, ...]]]:
    """dtype and shape of every golden vector, from the manifest."""
    conditioner = manifest.program("conditioner")
    shape, steps = manifest.latent.shape, manifest.golden.steps
    layout = {tensor.name: (tensor.dtype, tensor.shape) for tensor in (*conditioner.inputs, *conditioner.outputs)}
    layout |= dict.fromkeys(("noise", "step_latent", "step_velocity"), ("float32", (steps, *shape)))
    layout |= {"sigmas": ("float32", (steps + 1,)), "latent": ("float32", (1, *shape))}
    return layout | {"audio": ("float32", (manifest.audio.channels, manifest.latent.samples))}
