"""Who may import whom, read from the source: DESIGN of the house, held by a test."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("android_demo", "edge_export", "quantization", "runtime_py", "post_training", "benchmarks")
HEAVY = {"torch", "torchao", "executorch", "litert_torch", "litert_quantizer", "ai_edge_litert", "matplotlib"}


def imports(path: Path, *, inside_functions: bool) -> set[str]:
    """What the file at `path` imports, by its whole name, without what is under `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not inside_functions:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", files("runtime_py"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_runtime_stands_alone(path):
    assert not roots(imports(path, inside_functions=True)) & {"edge_export", "quantization", "post_training"}
    assert not roots(imports(path, inside_functions=False)) & HEAVY
    assert roots(imports(path, inside_functions=False)) <= {*sys.stdlib_module_names, "numpy", "runtime_py"}


@pytest.mark.parametrize("name", ["recipe.py", "recipes.py"])
def test_recipes_are_data_and_know_no_toolchain(name):
    assert not roots(imports(ROOT / "quantization" / name, inside_functions=True)) & HEAVY


@pytest.mark.parametrize("path", files("edge_export/model"), ids=lambda path: path.name)
def test_the_model_knows_nothing_of_export(path):
    ours = {name for name in imports(path, inside_functions=True) if roots({name}) & {"edge_export", "quantization"}}
    allowed = ("edge_export.model", "edge_export.errors")
    assert all(name.startswith(allowed) for name in ours), ours


@pytest.mark.parametrize("path", files("edge_export/rewrites"), ids=lambda path: path.name)
def test_rewrites_know_the_model_and_no_backend(path):
    ours = imports(path, inside_functions=True)
    assert not any(name.startswith(("edge_export.backends", "edge_export.pipeline", "quantization")) for name in ours)


@pytest.mark.parametrize("package", ["edge_export", "quantization"])
def test_what_exports_knows_no_training(package):
    for path in files(package):
        assert "post_training" not in roots(imports(path, inside_functions=True)), path


def test_workers_that_make_clips_need_no_torch():
    code = "import sys, post_training.clips; print(*sorted(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(loaded.stdout.split()) & HEAVY


def test_help_needs_no_toolchain():
    code = "import sys, edge_export.cli; print(*sorted(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & (HEAVY | {"numpy", "safetensors"})


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules of `graph` that import each other in a circle; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_no_modules_import_each_other_in_a_circle():
    paths = {module_name(path): path for package in PACKAGES for path in files(package)}
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        names = imports(path, inside_functions=True)
        found = {name if name in paths else name.rpartition(".")[0] for name in names}
        graph[module] = found & paths.keys()
    assert sum(map(len, graph.values())) > 500  # else nothing was looked at
    assert not circle(graph), " imports ".join(circle(graph))


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) in (["b", "c", "b"], ["c", "b", "c"])
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_private_stays_in_its_module(package):
    for path in files(package):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        ours = [
            alias
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES
            for alias in node.names
        ]
        known = {alias.asname or alias.name for alias in ours}
        taken = [alias.name for alias in ours if private(alias.name)] + [
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if node.value.id in known and private(node.attr)
        ]
        assert not taken, f"{path.relative_to(ROOT)} takes {', '.join(taken)}"
