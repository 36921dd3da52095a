"""Mutants: small faults put into the package one by one, each of which some test should notice.

    pip install coverage pytest-cov
    python -m pytest -n 2 --cov=tfopt --cov-context=test --cov-report=
    python tests/mutants/mutants.py choose --seed 14 --count 64 > list.json
    python tests/mutants/mutants.py run tests/mutants/list.json found.json

A mutant runs only the tests that execute its line, as coverage's contexts have it, stops at the
first that fails, and has two minutes. One that no test notices "survived". A mutant is known by
its function and the text of its line, so a list outlives that files move: `run` finds the line
again wherever it went, and says "lost" where it cannot.

`list.json` is such a list. `results.json` says what became of its mutants before and after the
tests were split, shortened and freed of private names: each name there is that of the time before.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import functools
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "tfopt"
MAX_TESTS = 250  # about what two minutes are enough for

COMPARISONS = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
OPERATORS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.Pow: "*"}


class Mutant(NamedTuple):
    """One fault: in which function, on which line, what becomes what."""

    file: str
    function: str
    line: str  # the text of the line, without its indentation
    column: int  # within that text
    old: str
    new: str

    @property
    def name(self) -> str:
        """A short description."""
        return f"{self.file}: {self.function}: {self.line!r}: {self.old!r} -> {self.new!r}"


# --- the faults that a file can have --------------------------------------------------------------


def mutants_of(file: Path) -> Iterator[tuple[int, Mutant]]:
    """All faults that can be put into a file, each with its line number."""
    source = file.read_text()
    lines = source.splitlines()
    for function, node in _functions(ast.parse(source)):
        for child in _statements(node):
            for line, column, old, new in _faults(child, source):
                text = lines[line - 1]
                indentation = len(text) - len(text.lstrip())
                where = (str(file.relative_to(ROOT)), function, text.strip())
                yield line, Mutant(*where, column - indentation, old, new)


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """All outermost functions by qualified name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for child in node.body:
                if isinstance(child, ast.FunctionDef):
                    yield f"{node.name}.{child.name}", child


def _statements(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function's body, but messages of errors and annotations."""
    for statement in function.body:
        yield from _without_messages(statement)


def _without_messages(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.AnnAssign | ast.Assert):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.arguments):
            yield from _without_messages(child)


def _faults(node: ast.AST, source: str) -> Iterator[tuple[int, int, str, str]]:
    """(line, column, old text, new text) of faults of one node, each within a line."""
    segment = ast.get_source_segment(source, node) if hasattr(node, "lineno") else None
    if segment is None or "\n" in segment:
        if isinstance(node, ast.If) and node.test.lineno == node.test.end_lineno:
            test = ast.get_source_segment(source, node.test)
            yield node.test.lineno, node.test.col_offset, test, f"not ({test})"
        return
    at = node.lineno, node.col_offset
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        left = ast.get_source_segment(source, node.left)
        right = ast.get_source_segment(source, node.comparators[0])
        yield *at, segment, f"{left} {COMPARISONS[type(node.ops[0])]} {right}"
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left = ast.get_source_segment(source, node.left)
        right = ast.get_source_segment(source, node.right)
        yield *at, segment, f"({left}) {OPERATORS[type(node.op)]} ({right})"
    elif isinstance(node, ast.BoolOp) and len(node.values) == 2:
        left, right = (ast.get_source_segment(source, value) for value in node.values)
        yield *at, segment, f"{left} {'or' if isinstance(node.op, ast.And) else 'and'} {right}"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield *at, segment, f"bool({ast.get_source_segment(source, node.operand)})"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield *at, segment, str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield *at, segment, repr(node.value + 1)
    elif isinstance(node, ast.Return) and node.value is not None and segment != "return None":
        yield *at, segment, "return None"
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield *at, segment, "pass"


# --- which tests execute a line -------------------------------------------------------------------


def tests_by_line(data: Path) -> dict[tuple[str, int], list[str]]:
    """The tests that execute each line, from the data of coverage."""
    from coverage.numbits import numbits_to_nums

    found: dict[tuple[str, int], list[str]] = {}
    with sqlite3.connect(data) as connection:
        contexts = dict(connection.execute("select id, context from context"))
        files = dict(connection.execute("select id, path from file"))
        rows = connection.execute("select file_id, context_id, numbits from line_bits")
        for file, context, numbits in rows:
            test, _, phase = contexts[context].partition("|")
            if phase == "run" or (test and not phase):
                for line in numbits_to_nums(numbits):
                    found.setdefault((files[file], line), []).append(test)
    return found


def in_turns(tests: list[str], seed: int) -> list[str]:
    """The tests in an order that takes one of each file in turn."""
    by_file: dict[str, list[str]] = {}
    for test in sorted(set(tests)):
        by_file.setdefault(test.split("::")[0], []).append(test)
    for own in by_file.values():
        random.Random(seed).shuffle(own)
    order = []
    while by_file:
        for file in list(by_file):
            order.append(by_file[file].pop())
            if not by_file[file]:
                del by_file[file]
    return order[:MAX_TESTS]


# --- choosing and running -------------------------------------------------------------------------


def choose(data: Path, seed: int, count: int) -> list[Mutant]:
    """Mutants of all files in turn, on lines that some test executes."""
    tests, generator = tests_by_line(data), random.Random(seed)
    by_file = []
    for file in sorted((ROOT / PACKAGE).rglob("*.py")):
        name = str(file.relative_to(ROOT))
        own = [mutant for line, mutant in mutants_of(file) if (name, line) in tests]
        generator.shuffle(own)
        if own:
            by_file.append(own)
    chosen: list[Mutant] = []
    while len(chosen) < count and any(by_file):
        generator.shuffle(by_file)
        chosen += [own.pop() for own in by_file if own][: count - len(chosen)]
    return sorted(chosen)


@functools.cache
def all_mutants() -> list[tuple[Path, int, Mutant]]:
    """All faults that can be put into the package, with file and line."""
    files = sorted((ROOT / PACKAGE).rglob("*.py"))
    return [(file, line, mutant) for file in files for line, mutant in mutants_of(file)]


def find(mutant: Mutant) -> tuple[Path, int, Mutant] | None:
    """Where a mutant is now: in its file, or where its function or its line went."""
    places = []
    for file, line, other in all_mutants():
        if (other.line, other.column, other.old) == (mutant.line, mutant.column, mutant.old):
            same_file = other.file == mutant.file
            same_function = other.function == mutant.function
            same_name = other.function.split(".")[-1] == mutant.function.split(".")[-1]
            rank = (same_file and same_function, same_function, same_name)
            places.append((rank, file, line, other._replace(new=mutant.new)))
    best = max((rank for rank, *_ in places), default=None)
    candidates = [place for place in places if place[0] == best]
    return candidates[0][1:] if len(candidates) == 1 or any(best or ()) else None


def run(mutant: Mutant, tests: dict[tuple[str, int], list[str]], seconds: float, seed: int) -> dict:
    """What comes of one mutant."""
    found = find(mutant)
    if found is None:
        return {"result": "lost"}
    file, line, mutant = found
    name = str(file.relative_to(ROOT))
    own = in_turns(tests.get((name, line), []), seed)
    if not own:
        return {"result": "no test", "at": f"{name}:{line}"}
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        ignored = shutil.ignore_patterns(".git", ".venv*", "_build", "generated", "__pycache__")
        shutil.copytree(ROOT, tree, ignore=ignored)
        lines = (tree / name).read_text().splitlines(keepends=True)
        text = lines[line - 1]
        start = len(text) - len(text.lstrip()) + mutant.column
        assert text[start:].startswith(mutant.old), (text, mutant)
        lines[line - 1] = text[:start] + mutant.new + text[start + len(mutant.old) :]
        (tree / name).write_text("".join(lines))
        (tree / "tests.txt").write_text("\n".join(own))
        options = ["-q", "-x", "--tb=line", "-p", "no:cacheprovider", "@tests.txt"]
        environment = {**os.environ, "PYTHONPATH": str(tree), "TF_CPP_MIN_LOG_LEVEL": "3"}
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options],
            cwd=tree, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            output, _ = process.communicate()
            return {"result": "survived", "why": "time", "tests": len(own), "at": f"{name}:{line}"}
    result = {0: "survived", 1: "killed", 2: "killed", 3: "killed"}.get(process.returncode, "error")
    last = [text for text in output.splitlines() if text.strip()][-4:]
    return {"result": result, "tests": len(own), "at": f"{name}:{line}", "output": last}


def main() -> None:
    """Chooses mutants, or runs a list of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["choose", "run"])
    parser.add_argument("files", nargs="*", type=Path, help="of `run`: the list, the results")
    parser.add_argument("--data", type=Path, default=ROOT / ".coverage")
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.what == "choose":
        chosen = choose(arguments.data, arguments.seed, arguments.count)
        print(json.dumps([mutant._asdict() for mutant in chosen], indent=1))
        return
    source, target = arguments.files
    mutants = [Mutant(**entry) for entry in json.loads(source.read_text())]
    tests = tests_by_line(arguments.data)
    results = json.loads(target.read_text()) if target.exists() else {}
    todo = [mutant for mutant in mutants if mutant.name not in results]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        futures = {
            pool.submit(run, mutant, tests, arguments.seconds, arguments.seed): mutant
            for mutant in todo
        }
        for future in concurrent.futures.as_completed(futures):
            name = futures[future].name
            results[name] = future.result()
            print(results[name]["result"], name, flush=True)
            target.write_text(json.dumps(dict(sorted(results.items())), indent=1))


if __name__ == "__main__":
    main()
