#!/usr/bin/env python3
"""Copy this tree, as it stands, into a folder that becomes a checkout of git as well.

    python scripts/copy_tree.py FOLDER

The files are those that git knows or would add. One that is the same there is left alone, and one
that differs gets the present date, so that what was built in the folder is built anew where it must
be and nowhere else. Files that this tree has lost go; what git ignores there stays.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit((__doc__ or "").strip())
    copy_tree(ROOT, Path(sys.argv[1]))


def copy_tree(source: Path, target: Path) -> None:
    """CalledProcessError where `source` is no checkout."""
    wanted = {name for name in files(source) if (source / name).is_file()}
    target.mkdir(parents=True, exist_ok=True)
    if not (target / ".git").exists():
        subprocess.run(["git", "init", "--quiet", target], check=True)
    for name in files(target) - wanted:
        (target / name).unlink(missing_ok=True)
        _prune((target / name).parent, target)
    for name in wanted:
        old, new = target / name, source / name
        if not (old.is_file() and filecmp.cmp(old, new, shallow=False)):
            old.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(new, old)
        shutil.copymode(new, old)
    subprocess.run(["git", "-C", target, "add", "--all"], check=True)


def _prune(folder: Path, top: Path) -> None:
    """Remove folders that have become empty."""
    while folder != top and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def files(folder: Path) -> set[str]:
    """What git knows or would add there."""
    command = ["git", "-C", folder, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return set(listed.stdout.split("\0")) - {""}


if __name__ == "__main__":
    main()
