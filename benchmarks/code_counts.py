"""Counts of what makes the code hard to read, as a Markdown table: of one folder, or of two.

python benchmarks/code_counts.py [FOLDER] [--list]
python benchmarks/code_counts.py BEFORE AFTER [--list]

A folder is a checkout of the project; without one, this checkout is counted. Counted are the
Python files of the packages `tiling`, `semimoe` and `workflow`, the scripts of rules included;
a row of the table that counts other files says so. `--list` shows below the table what was
counted.

The examples in the functions are tests: python -m doctest benchmarks/code_counts.py
"""

import argparse
import ast
import io
import re
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("tiling", "semimoe", "workflow")
SCRIPTS = "workflow/scripts/"
MAX_PARAMETERS = 8
MAX_COLUMNS = 100
MAX_LINES = 300
MIN_DUPLICATE = 6
VAGUE_NAMES = frozenset(
    {
        *("found", "given", "told", "said", "there", "near", "here", "seen", "marks", "mark"),
        *("stamp", "made", "wrong", "shown", "known", "codes", "Fitting", "fitting"),
    }
)
LOOK_UPS = re.compile(r"""config\[["']|\bcard\[["']|card\.get\(""")

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


class Source(NamedTuple):
    """A file of the project: its path from the root of the project, with slashes, and its text."""

    path: str
    text: str

    @property
    def stem(self) -> str:
        """Name of the file without its suffix."""
        return self.path.rsplit("/", 1)[-1].removesuffix(".py")

    @property
    def module(self) -> str:
        """Dotted name of the module.

        >>> Source("tiling/slide/reader.py", "").module, Source("tiling/__init__.py", "").module
        ('tiling.slide.reader', 'tiling')
        """
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def lines(self) -> list[str]:
        """The lines without their ends."""
        return self.text.removesuffix("\n").split("\n") if self.text else []


class Row(NamedTuple):
    """A row of the table: what is counted, how often it occurs, and where, a line for each."""

    title: str
    total: int
    details: list[str]


class Duplicate(NamedTuple):
    """The same lines in two places; a place is a file with its first and last line."""

    length: int
    first: str
    second: str


@cache
def tree_of(text: str) -> ast.Module:
    """Syntax tree of a Python file."""
    return ast.parse(text)


def nodes_of(source: Source) -> Iterator[ast.AST]:
    """Every node of the syntax tree of a file."""
    return ast.walk(tree_of(source.text))


# --- the files ---------------------------------------------------------------------------------


def sources_in(root: Path, folders: tuple[str, ...], *, with_rules: bool) -> list[Source]:
    """Python files below folders of the project; `with_rules` adds the files of Snakemake."""
    paths = [path for folder in folders for path in (root / folder).rglob("*") if path.is_file()]
    return [
        Source(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(paths)
        if (path.suffix == ".py" or (with_rules and is_rules(path)))
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]


def is_rules(path: Path) -> bool:
    """Whether Snakemake reads the file.

    >>> is_rules(Path("Snakefile")), is_rules(Path("rules/a.smk")), is_rules(Path("a.py"))
    (True, True, False)
    """
    return path.name == "Snakefile" or path.suffix == ".smk"


def sources_of_packages(root: Path) -> tuple[list[Source], list[Source]]:
    """Python files of the packages without their tests, and the files of Snakemake."""
    sources = sources_in(root, PACKAGES, with_rules=True)
    sources = [source for source in sources if "tests" not in source.path.split("/")]
    python = [source for source in sources if source.path.endswith(".py")]
    rules = [source for source in sources if not source.path.endswith(".py")]
    if (root / "Snakefile").is_file():
        rules.insert(0, Source("Snakefile", (root / "Snakefile").read_text(encoding="utf-8")))
    return python, rules


# --- 1. names that occur more than once --------------------------------------------------------


def repeated_classes(sources: list[Source]) -> dict[str, list[str]]:
    r"""Names of top-level classes of more than one module, without leading underscores.

    >>> repeated_classes([Source("a.py", "class _Tile: ..."), Source("b.py", "class Tile: ...")])
    {'Tile': ['a.py', 'b.py']}
    >>> repeated_classes([Source("a.py", "class _Tile: ...\nclass Tile: ...")])
    {}
    """
    paths: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        for node in tree_of(source.text).body:
            if isinstance(node, ast.ClassDef):
                paths[node.name.lstrip("_")].add(source.path)
    return {name: sorted(paths[name]) for name in sorted(paths) if len(paths[name]) > 1}


def repeated_modules(sources: list[Source]) -> dict[str, list[str]]:
    """Names of files that occur more than once; the scripts of rules are named after the rules.

    >>> paths = "tiling/tile.py", "semimoe/tile.py", "workflow/scripts/tile.py"
    >>> repeated_modules([Source(path, "") for path in paths])
    {'tile': ['semimoe/tile.py', 'tiling/tile.py']}
    """
    paths: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        if source.stem not in {"__init__", "__main__"} and not source.path.startswith(SCRIPTS):
            paths[source.stem].append(source.path)
    return {name: sorted(paths[name]) for name in sorted(paths) if len(paths[name]) > 1}


# --- 2. functions with many parameters ---------------------------------------------------------


def parameters_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """Parameters of a function, `*` and `**` ones too, without self or cls.

    >>> node = ast.parse("def f(self, a, /, b, *c, d, **e): ...").body[0]
    >>> [parameter.arg for parameter in parameters_of(node)]
    ['a', 'b', 'd', 'c', 'e']
    """
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if positional and positional[0].arg in {"self", "cls"}:
        positional = positional[1:]
    rest = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*positional, *arguments.kwonlyargs, *rest]


def functions_of(node: ast.AST, owner: str = "") -> Iterator[tuple[str, int, int]]:
    r"""Every function below a node, methods and inner functions too: name, line and parameters.

    >>> list(functions_of(ast.parse("class A:\n def f(self, x): ...")))
    [('A.f', 2, 1)]
    """
    for child in ast.iter_child_nodes(node):
        name = owner
        if isinstance(child, FUNCTION | ast.ClassDef):
            name = f"{owner}.{child.name}".lstrip(".")
        if isinstance(child, FUNCTION):
            yield name, child.lineno, len(parameters_of(child))
        yield from functions_of(child, name)


def long_signatures(sources: list[Source]) -> list[str]:
    """Functions with more parameters than eight, those with the most first.

    >>> long_signatures([Source("a.py", "def f(a, b, c, d, e, f, g, h, *, i): ...")])
    ['a.py:1 f: 9 parameters']
    """
    functions = [
        (count, f"{source.path}:{line} {name}: {count} parameters")
        for source in sources
        for name, line, count in functions_of(tree_of(source.text))
        if count > MAX_PARAMETERS
    ]
    return [text for _, text in sorted(functions, key=lambda pair: (-pair[0], pair[1]))]


# --- 3. dictionaries of anything ---------------------------------------------------------------


def untyped_dicts(source: Source) -> int:
    """How often `dict[str, Any]` is written, in annotations or in other code.

    >>> text = "def f(x: list[dict[str, Any]]) -> 'tuple[dict[str, Any], int]': ..."
    >>> untyped_dicts(Source("a.py", text))
    2
    >>> untyped_dicts(Source("a.py", "x: dict[str, int] = 'dict[str, Any]'  # dict[str, Any]"))
    0
    """
    written = "dict[str, Any]"
    total = 0
    for node in nodes_of(source):
        total += isinstance(node, ast.Subscript) and ast.unparse(node) == written
        for annotation in annotations_of(node):
            texts = (part for part in ast.walk(annotation) if isinstance(part, ast.Constant))
            total += sum(str(part.value).count(written) for part in texts)
    return total


def annotations_of(node: ast.AST) -> list[ast.expr]:
    """Annotations that a node of the syntax tree has itself.

    >>> [ast.unparse(node) for node in annotations_of(ast.parse("x: 'int' = 0").body[0])]
    ["'int'"]
    """
    annotation = None
    if isinstance(node, FUNCTION):
        annotation = node.returns
    elif isinstance(node, ast.arg | ast.AnnAssign):
        annotation = node.annotation
    return [] if annotation is None else [annotation]


# --- 4. long lines, 6. long modules ------------------------------------------------------------


def long_lines(source: Source) -> int:
    r"""Lines of more than a hundred columns.

    >>> long_lines(Source("a.py", "#" * 100 + "\n" + "#" * 101 + "\n"))
    1
    """
    return sum(len(line) > MAX_COLUMNS for line in source.lines)


def long_modules(sources: list[Source]) -> list[str]:
    r"""Modules of more than three hundred lines, the longest first.

    >>> long_modules([Source("a.py", "\n" * 300), Source("b.py", "\n" * 301)])
    ['b.py: 301 lines']
    """
    lengths = [(len(source.lines), source.path) for source in sources]
    lengths = [pair for pair in lengths if pair[0] > MAX_LINES]
    return [f"{path}: {length} lines" for length, path in sorted(lengths, reverse=True)]


# --- 5. duplicates -----------------------------------------------------------------------------


def compared_lines(source: Source) -> list[tuple[int, str]]:
    r"""The lines that are compared, with their numbers.

    Blank lines, comments, imports and lines of punctuation alone are left out, and so is the
    space at both ends of a line.

    >>> compared_lines(Source("a.py", "from a import (\n  b,\n)\n\nf(  # why\n  '#a'\n)\n"))
    [(5, 'f('), (6, "'#a'")]
    """
    lines = source.lines
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in nodes_of(source):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for row in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                lines[row - 1] = ""
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    return [(number, line) for number, line in numbered if re.search(r"\w", line)]


def duplicates(sources: list[Source]) -> list[Duplicate]:
    r"""Pairs of places with the same six lines or more, each as long as it can be.

    Three places with the same lines are three pairs. Two places of one file do not overlap.

    >>> lines = "".join(f"x{number} = 0\n" for number in range(7))
    >>> duplicates([Source("a.py", lines), Source("b.py", "y = 0\n" + lines)])
    [Duplicate(length=7, first='a.py:1-7', second='b.py:2-8')]
    >>> duplicates([Source(path, "a = 0\n" * 5) for path in ("a.py", "b.py")])
    []
    """
    files = [compared_lines(source) for source in sources]
    starts: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for file, lines in enumerate(files):
        for start in range(len(lines) - MIN_DUPLICATE + 1):
            window = tuple(line for _, line in lines[start : start + MIN_DUPLICATE])
            starts[window].append((file, start))
    pairs = []
    for places in starts.values():
        for index, first in enumerate(places):
            for second in places[index + 1 :]:
                length = shared_length(files, first, second)
                if length >= MIN_DUPLICATE:
                    names = [
                        f"{sources[file].path}:{files[file][start][0]}"
                        f"-{files[file][start + length - 1][0]}"
                        for file, start in (first, second)
                    ]
                    pairs.append(Duplicate(length, *names))
    return sorted(pairs, key=lambda pair: (-pair.length, pair.first, pair.second))


def shared_length(
    files: list[list[tuple[int, str]]], first: tuple[int, int], second: tuple[int, int]
) -> int:
    """How many lines two places share from their starts on; 0 if they share the line before too.

    >>> file = [(1, "a"), (2, "b"), (3, "a"), (4, "b")]
    >>> shared_length([file], (0, 0), (0, 2)), shared_length([file], (0, 1), (0, 3))
    (2, 0)
    """
    (first_file, first_start), (second_file, second_start) = first, second
    before = files[first_file][:first_start][-1:], files[second_file][:second_start][-1:]
    if all(before) and before[0][0][1] == before[1][0][1]:
        return 0
    length = 0
    one, other = files[first_file][first_start:], files[second_file][second_start:]
    for (_, line), (_, other_line) in zip(one, other, strict=False):
        if line != other_line:
            break
        length += 1
    return min(length, second_start - first_start) if first_file == second_file else length


# --- 7. vague names ----------------------------------------------------------------------------


def names_of(node: ast.AST) -> list[tuple[str, bool]]:
    """Names that a node of the syntax tree writes, and whether it defines them.

    >>> names_of(ast.parse("import a as b").body[0].names[0])
    [('a', False), ('b', True)]
    """
    names: list[tuple[str | None, bool]] = []
    match node:
        case ast.Name(id=name, ctx=context) | ast.Attribute(attr=name, ctx=context):
            names = [(name, isinstance(context, ast.Store))]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            names = [(name, True)]
        case ast.arg(arg=name) | ast.ExceptHandler(name=name) | ast.MatchAs(name=name):
            names = [(name, True)]
        case ast.MatchStar(name=name) | ast.MatchMapping(rest=name):
            names = [(name, True)]
        case ast.keyword(arg=name):
            names = [(name, False)]
        case ast.alias(name=imported, asname=name):
            names = [(imported, False), (name, True)]
        case ast.Global(names=several) | ast.Nonlocal(names=several):
            names = [(name, False) for name in several]
        case ast.MatchClass(kwd_attrs=several):
            names = [(name, False) for name in several]
    return [(name, defines) for name, defines in names if name is not None]


def vague_names(sources: list[Source]) -> dict[str, tuple[int, int, int]]:
    """Of each vague name: how often it is written, how often it is defined, in how many modules.

    Functions, classes, parameters, variables, attributes and keyword arguments count; words in
    texts and comments do not, nor does a name with an underscore before it.

    >>> vague_names([Source("a.py", "def f(found): return found.near + f(seen=0) + _seen")])
    {'found': (2, 1, 1), 'near': (1, 0, 1), 'seen': (1, 0, 1)}
    """
    written: Counter[str] = Counter()
    defined: Counter[str] = Counter()
    modules: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        for node in nodes_of(source):
            for name, defines in names_of(node):
                if name in VAGUE_NAMES:
                    written[name] += 1
                    defined[name] += defines
                    modules[name].add(source.path)
    order = sorted(written, key=lambda name: (-written[name], name))
    return {name: (written[name], defined[name], len(modules[name])) for name in order}


# --- 8. folders that import each other ---------------------------------------------------------


def folder_of(module: str) -> str:
    """The folder of a module; a file directly in a package is one by itself.

    >>> folder_of("tiling.slide.reader"), folder_of("tiling.blend"), folder_of("tiling")
    ('tiling.slide', 'tiling.blend', 'tiling')
    """
    return ".".join(module.split(".")[:2])


def imported_modules(source: Source, modules: set[str]) -> set[str]:
    r"""Modules of the project that a file imports, wherever in the file.

    >>> modules = {"tiling", "tiling.blend", "tiling.slide.reader", "tiling.slide"}
    >>> text = "from tiling import blend, x\nfrom .reader import y\nimport numpy"
    >>> sorted(imported_modules(Source("tiling/slide/tiff.py", text), modules))
    ['tiling', 'tiling.blend', 'tiling.slide.reader']
    """
    names = set()
    package = source.path.split("/")[:-1]
    for node in nodes_of(source):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parent, *([node.module] if node.module else [])])
            inner = {alias.name: f"{base}.{alias.name}" for alias in node.names}
            names |= {dotted if dotted in modules else base for dotted in inner.values()}
    return names & modules


def imports_of_folders(sources: list[Source]) -> dict[str, dict[str, list[str]]]:
    """Of each folder: the other folders that it imports, with the modules that do so.

    >>> a, b = Source("tiling/a.py", "import tiling.b"), Source("tiling/b.py", "")
    >>> imports_of_folders([a, b])
    {'tiling.a': {'tiling.b': ['tiling.a -> tiling.b']}, 'tiling.b': {}}
    """
    modules = {source.module for source in sources}
    graph: dict[str, dict[str, list[str]]] = {folder_of(name): {} for name in sorted(modules)}
    for source in sources:
        folder = folder_of(source.module)
        for name in sorted(imported_modules(source, modules)):
            if folder_of(name) != folder:
                importing = graph[folder].setdefault(folder_of(name), [])
                importing.append(f"{source.module} -> {name}")
    return graph


def cycles(graph: dict[str, dict[str, list[str]]]) -> list[list[str]]:
    """Groups of folders that all reach each other (strongly connected components above one).

    >>> cycles({"a": {"b": []}, "b": {"c": []}, "c": {"b": []}, "d": {}})
    [['b', 'c']]
    """
    reached = {folder: reach(graph, folder) for folder in graph}
    groups = {
        frozenset(other for other in reached[folder] if folder in reached[other])
        for folder in graph
    }
    return sorted(sorted(group) for group in groups if len(group) > 1)


def reach(graph: dict[str, dict[str, list[str]]], folder: str) -> set[str]:
    """Folders that imports lead to from a folder.

    >>> sorted(reach({"a": {"b": []}, "b": {"c": []}, "c": {}}, "a"))
    ['b', 'c']
    """
    reached: set[str] = set()
    waiting = [folder]
    while waiting:
        new = graph[waiting.pop()].keys() - reached
        reached |= new
        waiting.extend(new)
    return reached


def described_cycles(graph: dict[str, dict[str, list[str]]]) -> list[str]:
    """Each cycle of folders, with the imports within it indented below."""
    details = []
    for group in cycles(graph):
        details.append(", ".join(group))
        for folder in group:
            for other in sorted(set(group) & graph[folder].keys()):
                details.extend(f"  {line}" for line in graph[folder][other])
    return details


# --- 9. look-ups in the configuration ----------------------------------------------------------


def look_ups(source: Source) -> int:
    """Look-ups of a text key in the configuration or in the card of a model.

    >>> look_ups(Source("a.py", 'config["a"]["b"] + card["c"] + card.get("d") + postcard["e"]'))
    3
    """
    return len(LOOK_UPS.findall(source.text))


# --- the table ---------------------------------------------------------------------------------


def per_file(title: str, sources: list[Source], counts: list[int]) -> Row:
    """A row of counts of files, with the files that have any."""
    pairs = sorted(zip(counts, sources, strict=True), key=lambda pair: (-pair[0], pair[1].path))
    details = [f"{source.path}: {count}" for count, source in pairs if count]
    return Row(title, sum(counts), details)


def rows_of(root: Path) -> list[Row]:
    """All rows of the table for a checkout of the project."""
    python, rules = sources_of_packages(root)
    package_files = [*python, *rules]
    other_files = sources_in(root, ("tests", "benchmarks"), with_rules=True)
    classes, modules = repeated_classes(python), repeated_modules(python)
    signatures, long = long_signatures(python), long_modules(python)
    pairs, vague, graph = duplicates(python), vague_names(python), imports_of_folders(python)
    return [
        Row(
            "1a. Class names of more than one module",
            len(classes),
            [f"{name}: {', '.join(paths)}" for name, paths in classes.items()],
        ),
        Row(
            "1b. Module names that occur more than once",
            len(modules),
            [f"{name}: {', '.join(paths)}" for name, paths in modules.items()],
        ),
        Row(
            f"2. Functions with more than {MAX_PARAMETERS} parameters", len(signatures), signatures
        ),
        per_file("3. `dict[str, Any]`", python, [untyped_dicts(source) for source in python]),
        per_file(
            f"4a. Lines over {MAX_COLUMNS} columns, packages and rules",
            package_files,
            [long_lines(source) for source in package_files],
        ),
        per_file(
            f"4b. Lines over {MAX_COLUMNS} columns, tests and benchmarks",
            other_files,
            [long_lines(source) for source in other_files],
        ),
        Row(
            f"5. Duplicate pairs of {MIN_DUPLICATE} lines or more",
            len(pairs),
            [f"{pair.length} lines: {pair.first} = {pair.second}" for pair in pairs],
        ),
        Row(f"6. Modules over {MAX_LINES} lines", len(long), long),
        Row(
            "7. Vague names, every time one is written",
            sum(written for written, _, _ in vague.values()),
            [
                f"{name}: {written} ({defined} of them definitions) in {count} modules"
                for name, (written, defined, count) in vague.items()
            ],
        ),
        Row("8. Import cycles of folders", len(cycles(graph)), described_cycles(graph)),
        per_file(
            "9a. Raw look-ups in the configuration, packages",
            python,
            [look_ups(source) for source in python],
        ),
        per_file(
            "9b. Raw look-ups in the configuration, rules",
            rules,
            [look_ups(source) for source in rules],
        ),
    ]


def table(columns: dict[str, list[Row]]) -> str:
    """Markdown table with a column for each folder.

    >>> print(table({"Before": [Row("Lines", 12, [])], "After": [Row("Lines", 3, [])]}))
    |       | Before | After |
    |:------|-------:|------:|
    | Lines |     12 |     3 |
    """
    titles = [row.title for row in next(iter(columns.values()))]
    width = max(map(len, titles))
    lines = [
        " | ".join([" " * width, *columns]),
        "|".join([":" + "-" * (width + 1), *("-" * (len(name) + 1) + ":" for name in columns)]),
    ]
    for index, title in enumerate(titles):
        numbers = [f"{rows[index].total:>{len(name)}}" for name, rows in columns.items()]
        lines.append(" | ".join([title.ljust(width), *numbers]))
    return "\n".join([f"| {lines[0]} |", f"|{lines[1]}|", *(f"| {line} |" for line in lines[2:])])


def listing(rows: list[Row]) -> str:
    """What was counted, a list below the title of each row.

    >>> print(listing([Row("Lines", 1, ["a.py: 1"]), Row("Cycles", 0, [])]))
    Lines: 1
      a.py: 1
    Cycles: 0
    """
    lines = []
    for row in rows:
        lines.append(f"{row.title}: {row.total}")
        lines.extend(f"  {detail}" for detail in row.details)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("folders", nargs="*", type=Path, help="a checkout, or one before and after")
    parser.add_argument("--list", action="store_true", help="show below the table what was counted")
    arguments = parser.parse_args()
    folders: list[Path] = arguments.folders or [Path(__file__).parents[1]]
    if len(folders) > 2:
        parser.error("one folder, or two: before and after")
    for folder in folders:
        if not any((folder / package).is_dir() for package in PACKAGES):
            parser.error(f"{folder} has none of the packages {', '.join(PACKAGES)}")
    headings = ["Count"] if len(folders) == 1 else ["Before", "After"]
    columns = {name: rows_of(path) for name, path in zip(headings, folders, strict=True)}
    print(table(columns))
    if arguments.list:
        for name, rows in columns.items():
            print(f"\n{name}\n\n{listing(rows)}")


if __name__ == "__main__":
    main()
