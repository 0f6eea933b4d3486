"""The shape of the project: floors, folders without __init__.py, and what gets installed."""

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("kernels", "datasets", "bench")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# A module imports from its own floor and from those below. Every new module needs a place here.
FLOORS = [
    # words that all share
    [
        "errors",
        "expressions",
        "schema",
        "values",
        "deferred",
        "threads once",
        "explanation arguments",
    ],
    ["kernels.*"],
    # filters, attributes, vectors and codes, storage: side by side
    [
        "filters binding columns leaves mongo normal opaque parameters sql sql_*",
        "attributes attributes.* selection live",
        "vectors reduction ranks codes bit_codes computing cells pq_codes codebooks opq",
        "transforms transforms_*",
        "clusters centroids identifiers stores stores_*",
        "storage stored_segment catalog pending arrayfile bundles files",
        "ingest tables parquet_source distinct_ids memory_limit",
    ],
    ["paths paths.*"],
    ["planner calibration calibration.*"],
    [
        "index keeping segment segment_* recipe_types building prepared requests execution",
        "persistence",
        "held_rows transformed coarse",
        "listing checking hits tuning",
        "line_hits quick quick_batch quick_live",
        "mutable writing adding deleting gathering updating columns_changing column_values",
        "column_graphs graphs_changing advising",
        "compaction merging merge_memory background exporting export_checksum importing",
        "streaming surveying reading_rows probing memory_model unfinished planning",
        "native_planner native_building",
        "device device.*",
        "product_keys product_key_index key_hits key_masks key_usage",
    ],
    ["cli cli_* __main__ text recommend bench.*"],
]
# Floors alone would allow these; nobody may: (importer, imported).
FORBIDDEN = [
    ("paths*", "attributes* filters expressions storage"),
    ("planner calibration calibration.*", "kernels.* attributes* filters storage"),
    ("kernels.*", "errors expressions schema values"),
    ("filters binding sql* mongo columns", "attributes* storage vectors codes kernels.*"),
    (
        "storage stored_segment catalog pending arrayfile bundles files",
        "attributes* filters vectors codes kernels.* schema",
    ),
    (
        "cli* bench.*",
        "index keeping segment segment_* building prepared execution planner storage kernels.*"
        " paths* device*",
    ),
]
# What data sets may use of the search: errors, the stores that compressed tables are given as,
# transforms that they train, and the look-up of product keys, which memory layers learn by.
BESIDE = "errors stores stores_* product_keys transforms"
# Measures single kernels, which no public call runs alone.
MICROBENCHMARKS = "bench.proofs.kernel_*"
ALLOWED_OF_KERNELS = {"numpy", "numba", "llvmlite", "platformdirs", "fanns", "greenlet"}


def tracked(pattern: str) -> list[Path]:
    """Files of the checkout, links not followed."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--", pattern]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).exists()]


def modules() -> dict[str, Path]:
    """Dotted names below fanns ("paths.scan", "" for the package itself) and their files."""
    found = {}
    for path in tracked("*.py"):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[0] == "fanns":
            parts = parts[1:]
        elif parts[0] not in LINKED:
            continue
        if parts[-1] == "__init__":
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


def matches(name: str, patterns: str) -> bool:
    """Whether a module's name is one of several patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns.split())


def runtime_nodes(node: ast.AST, top_only: bool) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING` (and, if so asked, in functions)."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if top_only and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield child
        yield from runtime_nodes(child, top_only)


def imports(path: Path, known: dict[str, Path], top_only: bool = False) -> set[str]:
    """Modules of ours that a file imports, as in `modules`."""
    found = set()
    for node in runtime_nodes(ast.parse(path.read_text(encoding="utf-8")), top_only):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = str(node.module)
            if node.level:  # of files in folders that stand flat beside each other
                assert node.level == 1 and path.parent.name in LINKED, f"{path}: write from fanns."
                base = ".".join(filter(None, ["fanns", path.parent.name, node.module]))
            for alias in node.names:
                full = f"{base}.{alias.name}"
                names.append(full if full.removeprefix("fanns.") in known else base)
        found |= {n.partition(".")[2] for n in names if n == "fanns" or n.startswith("fanns.")}
    return found


def floor(name: str) -> int | None:
    """Index into FLOORS."""
    for number, groups in enumerate(FLOORS):
        if any(matches(name, group) for group in groups):
            return number
    return None


def test_every_module_has_a_floor() -> None:
    homeless = [n for n in modules() if n and not n.startswith("datasets.") and floor(n) is None]
    assert homeless == [], "give these modules a place in FLOORS"


def test_imports_go_down() -> None:
    known = modules()
    wrong = []
    for name, path in known.items():
        for target in imports(path, known):
            own, other = floor(name), floor(target)
            if own is not None and other is not None and other > own:
                wrong.append(f"{name} imports {target}, from a floor above")
            shared = target == "" or matches(target, BESIDE)
            beside = name.startswith("datasets.") and not shared
            if beside != target.startswith("datasets.") and not matches(name, "cli* text bench.*"):
                wrong.append(f"{name} imports {target}: data sets stand beside the search")
            for importers, imported in FORBIDDEN:
                if matches(name, MICROBENCHMARKS):
                    continue
                if target and matches(name, importers) and matches(target, imported):
                    wrong.append(f"{name} must not know {target}")
    assert wrong == []


def test_imports_make_no_circle() -> None:
    known = modules()
    graph = {n: imports(p, known, top_only=True) - {n} for n, p in known.items() if n}
    while graph:
        free = [n for n, targets in graph.items() if not targets & graph.keys()]
        assert free, f"a circle among {sorted(graph)}"
        for name in free:
            del graph[name]


def test_kernels_know_arrays_only() -> None:
    for name, path in modules().items():
        if name.startswith("kernels."):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names: list[str] = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [str(node.module)]
                for full in names:
                    top = full.split(".")[0]
                    assert top in ALLOWED_OF_KERNELS | sys.stdlib_module_names, (name, top)


def test_the_three_folders_are_no_packages() -> None:
    """A regular package of the same name in site-packages must win over the folder."""
    for folder in LINKED:
        assert not list((ROOT / folder).rglob("__init__.py"))
        link = ROOT / "fanns" / folder
        assert link.is_symlink() and os.readlink(link) == f"../{folder}"


def test_all_packages_are_listed() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    folders = {".".join(["fanns", *n.split(".")[:-1]]) for n in modules() if "." in n}
    assert listed == folders | {"fanns"}


def test_pins_satisfy_what_is_asked() -> None:
    requirements = pytest.importorskip("packaging.requirements")
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    groups = PROJECT["project"]["optional-dependencies"]
    for text in [*PROJECT["project"]["dependencies"], *(t for g in groups.values() for t in g)]:
        requirement = requirements.Requirement(text)
        if requirement.name == "fanns":  # one extra that takes in another
            assert requirement.extras <= groups.keys()
            continue
        assert requirement.specifier.contains(pins[requirement.name]), text


def asked_by(extra: str) -> set[str]:
    """What an extra installs, with the extras that it takes in."""
    requirements = pytest.importorskip("packaging.requirements")
    names = set()
    for text in PROJECT["project"]["optional-dependencies"][extra]:
        requirement = requirements.Requirement(text)
        names.add(requirement.name)
        names |= (
            {name for other in requirement.extras for name in asked_by(other)}
            if (requirement.name == "fanns")
            else set()
        )
    return names


def test_no_extra_asks_for_both_packages_of_faiss() -> None:
    """They install the same module: whichever comes last wins, and removing one breaks both."""
    extras = PROJECT["project"]["optional-dependencies"]
    assert "faiss-gpu" in asked_by("gpu") and "faiss-cpu" in asked_by("dev")
    for extra in extras:
        assert not {"faiss-gpu", "faiss-cpu"} <= asked_by(extra), extra


def test_ci_runs_the_command_of_the_readme() -> None:
    command = "python -m pytest"
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of what is tracked, links kept as links."""
    if find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed (it comes with the extra dev)")
    copy = tmp_path_factory.mktemp("checkout")
    for path in tracked("*"):
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
    return copy


def pip(*arguments: str | Path, cwd: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--no-deps", "-q", "-w", folder, checkout, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def packaged() -> set[str]:
    """The tracked files that belong in a distribution, as they are named inside it."""
    files = {f"fanns/{p.relative_to(ROOT)}" for f in LINKED for p in tracked(f"{f}/*.py")}
    files |= {str(path.relative_to(ROOT)) for path in tracked("fanns/*.py")}
    files |= {f"fanns/{p.relative_to(ROOT)}" for p in tracked("bench/*.toml")}
    return files | {"fanns/py.typed"}


def test_wheel_holds_what_is_tracked(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
        assert not any(info.external_attr >> 28 == 0xA for info in archive.infolist())  # no links
        assert any(name.endswith("/LICENSE") for name in archive.namelist())
    assert names == packaged()


def test_sdist_builds_the_same_wheel(
    checkout: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sdist")
    script = "import sys, setuptools.build_meta as b; b.build_sdist(sys.argv[1])"
    command = [sys.executable, "-W", "ignore", "-c", script, str(folder)]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    (path,) = folder.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert all(member.isfile() or member.isdir() for member in members)
        archive.extractall(folder, filter="data")
    inside = {m.name.partition("/")[2] for m in members if m.isfile()}
    assert packaged() <= inside
    (source,) = (p for p in folder.iterdir() if p.is_dir())
    pip("wheel", "--no-build-isolation", "--no-deps", "-q", "-w", folder, source, cwd=folder)
    (again,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        contents = [{n: z.read(n) for n in z.namelist()} for z in (first, second)]
    assert contents[0] == contents[1]


@pytest.fixture(scope="module", params=["wheel", "editable", "checkout"])
def installed(
    request: pytest.FixtureRequest,
    checkout: Path,
    wheel: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """A folder like site-packages in which fanns was installed, and where fanns then stands."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "wheel":
        pip("install", "-q", "--no-deps", "--target", folder, wheel, cwd=folder)
        return folder, folder
    if request.param == "editable":
        options = ["--no-build-isolation", "--no-deps", "--ignore-installed", "-q"]
        pip("install", *options, "--prefix", folder, "-e", checkout, cwd=folder)
        (pth,) = folder.rglob("*.pth")
        assert Path(pth.read_text().strip()) == checkout, "a plain path, for type checkers"
        return pth.parent, checkout
    (folder / "checkout.pth").write_text(str(checkout))
    return folder, checkout


PROBE = """
import site, sys
before = list(sys.path)
site.addsitedir(sys.argv[1])
added = [path for path in sys.path if path not in before]
# before a fanns that this environment may have installed
sys.path[:] = [before[0], *added, *before[1:]]
import datasets
print(datasets.__file__)
import fanns.datasets.exact, fanns.bench.formats.hostile
print(fanns.datasets.exact.__file__)
"""


def test_datasets_is_still_hugging_faces(
    installed: tuple[Path, Path], checkout: Path, tmp_path: Path
) -> None:
    """`import datasets` finds the regular package in site-packages, also from the repo's root."""
    site, home = installed
    dummy = tmp_path / "hugging" / "datasets"
    dummy.mkdir(parents=True)
    (dummy / "__init__.py").write_text("")
    (site / "hugging.pth").write_text(str(dummy.parent))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for cwd in (checkout, tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", PROBE, str(site)],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.splitlines()
        assert Path(first) == dummy / "__init__.py"
        expected = checkout if cwd == checkout else home  # python -c looks here first
        assert Path(second).is_relative_to(expected)
