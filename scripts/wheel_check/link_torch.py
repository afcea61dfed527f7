"""Links torch, what it requires and nothing else into another environment.

The idea: a clean environment need not download torch again. Every installed distribution that
torch requires, to the last, is linked into the other environment's site-packages by its top-level
names, its metadata among them, so that pip there sees torch as installed.

    python scripts/wheel_check/link_torch.py VENV
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path


def is_wanted(requirement: str) -> bool:
    """Requirements of extras are left out; other markers are not judged, only what is installed."""
    return "extra ==" not in requirement


def closure(name: str, found: dict[str, metadata.Distribution]) -> None:
    """Adds to `found` the distribution and, to any depth, those that it requires."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return
    try:
        found[key] = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return
    for requirement in filter(is_wanted, found[key].requires or []):
        needed = re.match(r"[\w.-]+", requirement)
        assert needed is not None, requirement
        closure(needed.group(), found)
        # cuda-toolkit[cublas,...] requires its parts as extras.
        if "[" in requirement.split(";")[0]:
            extras(needed.group(), requirement, found)


def extras(name: str, requirement: str, found: dict[str, metadata.Distribution]) -> None:
    """Adds what the extras named in brackets require of the distribution `name`."""
    names = set(re.split(r"[\s,]+", requirement.split("[")[1].split("]")[0]))
    for line in metadata.distribution(name).requires or []:
        marker = re.search(r"extra == ['\"]([\w.-]+)['\"]", line)
        needed = re.match(r"[\w.-]+", line)
        if marker is not None and marker[1] in names and needed is not None:
            closure(needed.group(), found)


def main() -> None:
    python = Path(sys.argv[1], "bin/python")
    question = "import sysconfig; print(sysconfig.get_path('purelib'))"
    target = Path(subprocess.check_output([python, "-c", question], text=True).strip())
    found: dict[str, metadata.Distribution] = {}
    closure("torch", found)
    if "torch" not in found:
        sys.exit(f"torch must be installed for {sys.executable}, and is not")
    for distribution in found.values():
        for name in {file.parts[0] for file in distribution.files or []}:
            source, link = Path(str(distribution.locate_file(name))), target / name
            if name != ".." and not link.exists():
                link.symlink_to(source.resolve())
    print(f"linked into {target}: {' '.join(sorted(found))}")


if __name__ == "__main__":
    main()
