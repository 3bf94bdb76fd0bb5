"""Which files does a user's code consist of, and what do they do, comments aside? Runs none.

From the named files on, every import that leads into the same folder is followed, as text. A
file counts by what it does: comments, docstrings and layout do not change it.
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from search_spaces.registry import find_source

HOME = Path(__file__).resolve().parents[2]
OURS = tuple(HOME / name for name in ("search_spaces", "trainables", "results", "tuner"))

# Where packages are installed; their imports lead into all others.
INSTALLED = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")}


def code_files(names: Iterable[str]) -> dict[str, Path]:
    """The files that `package.module:callable` or `file.py:callable` names, and their imports.

    Returns:
        Path from the folder that the package lies in (POSIX; with that folder's name before it
        where two are equal) -> file. Only what lies in that folder belongs to the user's code: no
        package installed elsewhere, and none of ours. Of a package that is installed itself only
        the file that is named.

    Raises:
        ValueError: no such module or file.
    """
    files: dict[str, Path] = {}
    for name in names:
        path = find_source(name)
        if path is None:
            continue
        module = name.rpartition(":")[0]
        is_file = module.endswith(".py")
        depth = 0 if is_file else module.count(".") + (path.name == "__init__.py")
        root = path.resolve().parents[depth]
        is_installed = root in INSTALLED
        waiting = [path.resolve()]
        while waiting:
            path = waiting.pop()
            if path in files.values() or any(map(path.is_relative_to, OURS)):
                continue
            place = path.relative_to(root).as_posix()
            files[f"{root.name}/{place}" if place in files else place] = path
            if not is_installed:
                waiting += _imports(root, path)
    return files


def digests(files: Mapping[str, Path]) -> dict[str, str]:
    """12 hex digits of what each file does."""
    return {
        place: hashlib.sha256(essence(path.read_bytes())).hexdigest()[:12]
        for place, path in sorted(files.items())
    }


def essence(source: bytes) -> bytes:
    """Python code without comments, docstrings and layout; what cannot be parsed, as it is."""
    try:
        tree = ast.parse(textwrap.dedent(source.decode()))
    except (SyntaxError, ValueError):
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree).encode()


def _imports(root: Path, path: Path) -> Iterator[Path]:
    """Files below `root` that this one imports, also inside functions, and their packages'."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    package = list(path.relative_to(root).parent.parts)
    for node in ast.walk(tree):
        names: list[list[str]] = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = len(package) - node.level + 1
            start = package[:up] if node.level else []
            module = [*start, *(node.module.split(".") if node.module else [])]
            names = [module, *([*module, alias.name] for alias in node.names)]
        for parts in names:
            for length in range(1, len(parts) + 1):
                base = root.joinpath(*parts[:length])
                candidates = (base.with_suffix(".py"), base / "__init__.py")
                yield from (file.resolve() for file in candidates if file.is_file())
