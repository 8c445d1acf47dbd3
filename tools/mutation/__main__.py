"""Do the tests notice a wrong line: ``python -m tools.mutation FILE_OR_FOLDER ... [--sample N --seed S]``.

Each mutant is one small change to one line: a sign or a comparison turned round, an option or a factor left out, two
views or policy and reference swapped, a check or a detach forgotten. Tests run with it in a copy of the tree, the
closest ones first, until one fails. A mutant whose tests take three times as long as without it counts as caught. The
command fails if no test notices a mutant and `mutants_explained.yaml` does not say why.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tools.mutation.check import HEADER, Check
from tools.mutation.sandbox import Sandbox


def main() -> None:
    parser = argparse.ArgumentParser("tools.mutation", description=__doc__)
    parser.add_argument("paths", nargs="+", help="files or folders, such as mdpo_core/objective")
    parser.add_argument("--sample", type=int, help="mutants to try of each file; default: all")
    parser.add_argument("--seed", type=int, default=0, help="which mutants a sample holds; default: 0")
    args = parser.parse_args()
    root = Path.cwd()
    files = _files(args.paths, root, parser)
    with tempfile.TemporaryDirectory(prefix="mdpo-mutants-") as folder:
        check = Check(root, Sandbox(root, Path(folder)))
        results = []
        for file in files:
            print(file, flush=True)
            results.append(check.file(file, args.sample, args.seed))
    print(HEADER, *(result.row() for result in results), sep="\n")
    for result in results:
        for key in result.stale:
            print(f"{result.file}: explained, but a test notices it, or it does not exist: {key}")
    sys.exit(0 if all(result.passes for result in results) else 1)


def _files(paths: list[str], root: Path, parser: argparse.ArgumentParser) -> list[str]:
    """The source files under some paths, relative to the root; a file that only joins others has nothing to mutate."""
    found = []
    for path in (root / each for each in paths):
        if not (path.is_dir() or (path.suffix == ".py" and path.is_file())):
            parser.error(f"{path} is neither a folder nor a Python file")
        if not path.resolve().is_relative_to(root.resolve()):
            parser.error(f"{path} is not in {root}, where the tests run")
        inside = path.rglob("*.py") if path.is_dir() else [path]
        found += sorted(file.resolve() for file in inside if file.name != "__init__.py")
    return [str(file.relative_to(root.resolve())) for file in found]


if __name__ == "__main__":
    main()
