"""What this interpreter has and lacks; the questions that scripts/setup.sh asks before it acts.

The one idea: ask the installed packages' own metadata, never a stamp. An answer costs a tenth of a
second and cannot go stale when somebody removes or changes an environment by hand.

What must stay true: nothing here imports torch, writes a file or needs a package beyond pip.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+?)\s*(?:(>=|==)\s*([0-9][0-9.]*))?$")


def read_project() -> dict:
    """pyproject.toml as a dictionary, also under Python 3.10, which has no tomllib of its own."""
    try:
        import tomllib
    except ModuleNotFoundError:
        from pip._vendor import tomli as tomllib
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(groups: list[str]) -> list[str]:
    """What `groups` require, each once: "build", "run", or the name of an optional dependency."""
    project = read_project()
    tables = {
        "build": project["build-system"]["requires"],
        "run": project["dependency-groups"]["run"],
        **project["project"]["optional-dependencies"],
    }
    return list(dict.fromkeys(line for group in groups for line in tables[group]))


def release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, without trailing zeros: "2.11.0+cu130" gives (2, 11)."""
    found = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in found.group().split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def is_met(requirement: str) -> bool:
    """Whether an installed package satisfies "name", "name>=1.2" or "name==1.2.3"."""
    parts = REQUIREMENT.match(requirement)
    if parts is None:
        raise ValueError(f'{requirement!r} must read "name", "name>=1.2" or "name==1.2.3"')
    name, comparison, wanted = parts.groups()
    try:
        found = release(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False
    if comparison is None:
        return True
    return found >= release(wanted) if comparison == ">=" else found == release(wanted)


def is_usable() -> bool:
    """Whether to work in this environment: new enough, ours to change, with a torch to keep."""
    inside_environment = sys.prefix != sys.base_prefix
    marker = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    if sys.version_info < (3, 10) or (marker.exists() and not inside_environment):
        return False
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("pip") is None:
        return False
    return all(is_met(requirement) for requirement in requirements(["run"]))


def is_editable() -> bool:
    """Whether this very source tree is what `import roformer_ext` finds here."""
    try:
        origin = metadata.distribution("roformer_ext").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return False
    record = json.loads(origin or "{}")
    path = unquote(urlparse(record.get("url", "")).path)
    return bool(record.get("dir_info", {}).get("editable")) and Path(path) == ROOT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", choices=["usable", "editable", "missing"])
    parser.add_argument(
        "group", nargs="*", help='for "missing": build, run, test, demo, lint, bench'
    )
    arguments = parser.parse_args()
    if arguments.question == "missing":
        print("\n".join(line for line in requirements(arguments.group) if not is_met(line)))
        return 0
    return 0 if (is_usable() if arguments.question == "usable" else is_editable()) else 1


if __name__ == "__main__":
    sys.exit(main())
