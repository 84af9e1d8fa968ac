"""House rules that a machine can check. Prints each breach and exits with 1 if there is one."""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from vallum.base import bounds

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "vallum"
MAX_LINES = 500
CRYPTO = {"cryptography", "argon2", "model_signing", "tink", "OpenSSL"}
OWNERS = {"subprocess": "sandbox", **dict.fromkeys(CRYPTO, "crypto")}


def modules() -> Iterator[tuple[Path, str]]:
    """Yield every module of the product with its text."""
    for path in sorted(SOURCE.rglob("*.py")):
        yield path, path.read_text()


def permits_are_minted_once() -> Iterator[str]:
    """`Permit(` is called in one place, in `audit`."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, text in modules()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Permit"
    ]
    if len(found) != 1 or not found[0].startswith("src/vallum/audit/"):
        yield f"Permit( must be called once, in audit; found {found}"


def libraries_have_one_owner() -> Iterator[str]:
    """Crypto libraries and process starts belong to one room each."""
    for path, text in modules():
        room = path.relative_to(SOURCE).parts[0]
        for node in ast.walk(ast.parse(text)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                names = [node.module]
            for name in names:
                owner = OWNERS.get(name.partition(".")[0])
                if owner is not None and room != owner:
                    yield f"{path.relative_to(ROOT)}:{node.lineno} imports {name}: ask {owner}"


def modules_are_small() -> Iterator[str]:
    """A module of more than 500 lines needs a reason in its docstring."""
    for path, text in modules():
        lines = text.count("\n")
        docstring = ast.get_docstring(ast.parse(text)) or ""
        if lines > MAX_LINES and "This module is long because" not in docstring:
            yield f"{path.relative_to(ROOT)} has {lines} lines (limit {MAX_LINES})"


def bounds_are_used() -> Iterator[str]:
    """A bound that nothing reads protects nothing."""
    texts = [text for path, text in modules() if path.name != "bounds.py"]
    for record in vars(bounds).values():
        if not (isinstance(record, type) and hasattr(record, "__dataclass_fields__")):
            continue
        for field in fields(record):
            if not any(re.search(rf"\.{field.name}\b", text) for text in texts):
                yield f"bounds.{record.__name__}.{field.name} is not used"


def vectors_name_their_source() -> Iterator[str]:
    """Every folder of published vectors says where they come from."""
    for folder in sorted((ROOT / "tests" / "vectors").glob("*")):
        if folder.is_dir() and not (folder / "SOURCE.md").exists():
            yield f"{folder.relative_to(ROOT)} has no SOURCE.md"


def readme_commands_exist() -> Iterator[str]:
    """The two commands of the README are targets of the Makefile."""
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        if f"make {target}" not in readme:
            yield f"README.md does not show `make {target}`"
        if f"\n{target}:" not in makefile:
            yield f"Makefile has no target {target}"


CHECKS = (
    permits_are_minted_once,
    libraries_have_one_owner,
    modules_are_small,
    bounds_are_used,
    vectors_name_their_source,
    readme_commands_exist,
)


def main() -> int:
    """Run every check."""
    breaches = [breach for check in CHECKS for breach in check()]
    for breach in breaches:
        print(f"house: {breach}", file=sys.stderr)
    return 1 if breaches else 0


if __name__ == "__main__":
    raise SystemExit(main())
