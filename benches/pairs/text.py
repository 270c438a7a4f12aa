"""Training text: the documentation of a pinned package, the same on every machine."""

import ast
from importlib.util import find_spec
from pathlib import Path

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def documentation(package, folder):
    """All docstrings below a folder of a package, in order."""
    root = Path(find_spec(package).origin).parent / folder
    trees = (ast.parse(file.read_text()) for file in sorted(root.rglob("*.py")))
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, DOCUMENTED))
    return "\n\n".join(filter(None, map(ast.get_docstring, nodes)))


def sentences(text):
    """Its lines of prose."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if len(line) > 30 and line[0].isalpha()]
