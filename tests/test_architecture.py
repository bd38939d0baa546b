"""The arrows of docs/architecture.md: who may import whom, and how large a thing may grow."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).parents[1]
PACKAGES = ("tiling", "semimoe", "workflow")
FORBIDDEN = {
    "tiling": {"semimoe", "workflow", "torch", "lightning", "snakemake"},
    "semimoe": {
        "workflow",
        "zarr",
        "openslide",
        "tiffslide",
        "snakemake",
        "shapely",
        "rasterio",
        "dask",
    },
    "workflow": set(),
}
# Folders in the order in which the data go through them; each imports only folders before it.
ORDER = {
    "tiling": (
        "raster",
        "stores",
        "slides",
        "outlines",
        "tissue",
        "tiles",
        "maps",
        "objects",
        "qupath",
        "synthetic",
        "pictures",
        "commands",
    ),
    "semimoe": (
        "networks",
        "objectives",
        "methods",
        "datasets",
        "prediction",
        "evaluation",
        "training",
        "benchmark",
        "commands",
    ),
    "workflow": ("config", "stages", "reporting"),
}
# Needed by a single method, and large: not in the environment of the tests.
NOT_LOCKED = {"monai[einops]"}
# Installed, or used by another name, on purpose.
NAMED_BY_THE_USER = (
    "torch",
    "openslide-python",
    "tiffslide",
    "zarr",
    "dask",
    "scipy",
    "scikit-image",
    "snakemake",
    "pytest",
)


def modules(package: str) -> Iterator[Path]:
    yield from (path for path in (REPO / package).rglob("*.py") if "scripts" not in path.parts)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_one_way(package: str) -> None:
    for path in modules(package):
        tops = {name.split(".")[0] for name in imports(path)}
        assert not tops & FORBIDDEN[package], (
            f"{path.relative_to(REPO)} imports {tops & FORBIDDEN[package]}"
        )


def module_names() -> dict[str, Path]:
    """Dotted name of every module, and its file."""
    names = {}
    for package in PACKAGES:
        for path in modules(package):
            dotted = ".".join(path.relative_to(REPO).with_suffix("").parts)
            names[dotted.removesuffix(".__init__")] = path
    return names


def assert_no_cycle(arrows: dict[str, set[str]]) -> None:
    finished: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in finished:
            for other in sorted(arrows[name]):
                visit(other, (*above, name))
            finished.add(name)

    for name in arrows:
        visit(name, ())


def test_no_cycles_between_modules() -> None:
    names = module_names()
    assert_no_cycle(
        {
            name: {i for i in imports(path) if i in names and i != name}
            for name, path in names.items()
        }
    )


def folder_of(module: str) -> str:
    """The folder of a module; a module beside the folders counts as one."""
    return ".".join(module.split(".")[:2])


def test_no_cycles_between_folders() -> None:
    names = module_names()
    arrows: dict[str, set[str]] = {folder_of(name): set() for name in names}
    for name, path in names.items():
        imported = {folder_of(other) for other in imports(path) if other in names}
        arrows[folder_of(name)] |= imported - {folder_of(name), name.split(".")[0]}
    assert_no_cycle(arrows)


@pytest.mark.parametrize("package", ["tiling", "semimoe", "workflow"])
def test_folders_import_only_folders_before_them(package: str) -> None:
    order = [f"{package}.{name}" for name in ORDER[package]]
    for name, path in module_names().items():
        if folder_of(name) not in order:
            continue
        later = set(order[order.index(folder_of(name)) + 1 :])
        imported = {folder_of(other) for other in imports(path)}
        assert not imported & later, f"{name} imports {imported & later}"


def test_module_names_are_unique() -> None:
    counts = Counter(
        path.stem for path in module_names().values() if path.stem not in ("__init__", "__main__")
    )
    assert [name for name, count in counts.items() if count > 1] == []


def test_class_names_are_unique() -> None:
    places: dict[str, list[str]] = {}
    for name, path in module_names().items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), []).append(name)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_functions_have_at_most_eight_parameters() -> None:
    long = {}
    for name, path in module_names().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                parameters = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                count = sum(parameter.arg not in ("self", "cls") for parameter in parameters)
                if count > 8:
                    long[f"{name}.{node.name}"] = count
    assert long == {}


def test_the_leaf_imports_numpy_and_scipy_only() -> None:
    allowed = {"tiling", "numpy", "scipy", *sys.stdlib_module_names}
    for path in (REPO / "tiling" / "raster").glob("*.py"):
        tops = {name.split(".")[0] for name in imports(path)}
        assert tops <= allowed, f"{path.name} imports {tops - allowed}"


def test_modules_can_be_read_in_a_sitting() -> None:
    long = {}
    for name, path in module_names().items():
        lines = len(path.read_text().splitlines())
        if lines > 300:
            long[name] = lines
    assert long == {}


def test_scripts_are_thin() -> None:
    scripts = sorted((REPO / "workflow" / "scripts").glob("*.py"))
    assert len(scripts) >= 13
    for script in scripts:
        lines = [line for line in script.read_text().splitlines() if line.strip()]
        assert len(lines) <= 25, script.name


def test_every_script_has_a_rule_of_its_name_and_guards_its_main() -> None:
    rules = "\n".join(path.read_text() for path in (REPO / "workflow" / "rules").glob("*.smk"))
    for script in (REPO / "workflow" / "scripts").glob("*.py"):
        named = re.search(rf"^rule {script.stem}:", rules, re.MULTILINE)
        assert named or f'"../scripts/{script.stem}.py"' in rules, script.stem
        assert 'if __name__ == "__main__":' in script.read_text()


def test_every_package_folder_is_listed_for_installation() -> None:
    import tomllib

    listed = set(
        tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    folders_with_code = {
        ".".join(path.parent.relative_to(REPO).parts)
        for p in PACKAGES
        for path in (REPO / p).rglob("__init__.py")
    }
    assert folders_with_code == listed


def test_environment_and_lock_pin_the_same_packages() -> None:
    import tomllib

    lock = [
        line.strip()
        for line in (REPO / "requirements.lock").read_text().splitlines()
        if line.strip()
    ]
    conda = yaml.safe_load((REPO / "environment.yml").read_text())
    assert next(entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)) == lock
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lock}
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {re.split(r"[<>=]", name)[0].lower().replace("_", "-") for name in wanted}
    assert names - NOT_LOCKED <= pinned
    assert set(NAMED_BY_THE_USER) <= pinned


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import semimoe.evaluation.metrics", ("torch", "lightning")),
        ("import semimoe.settings", ("torch", "lightning")),
        (
            "import workflow.sheet_reader, workflow.config.configuration, "
            "workflow.reporting.report",
            ("torch", "lightning", "matplotlib", "zarr"),
        ),
        ("import tiling.__main__", ("zarr", "rasterio", "matplotlib")),
    ],
)
def test_cheap_imports_stay_cheap(statement: str, absent: tuple[str, ...]) -> None:
    code = f"import sys; {statement}; print(*[name for name in {absent} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True
    ).stdout
    assert loaded.strip() == ""
