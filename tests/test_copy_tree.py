"""scripts/copy_tree.py: what a build in the copy sees of a change."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import scripts_path

with scripts_path.importable():
    import copy_tree


def test_a_build_sees_what_changed_and_nothing_else(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep").mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", source], check=True)
    for name in ("same", "changed", "lost", "deep/run.sh"):
        (source / name).write_text(name)
    (source / "deep/run.sh").chmod(0o755)
    (source / ".gitignore").write_text("build\n")
    (source / "build").write_text("not copied")
    copy_tree.copy_tree(source, target)
    assert (target / "deep/run.sh").stat().st_mode & 0o111
    assert not (target / "build").exists()

    (target / "build").write_text("kept")
    for path in target.rglob("*"):
        if path.is_file():
            os.utime(path, (1000.0, 1000.0))
    # Written before the copy was built, and copied after it: its own date would hide it from ninja.
    (source / "changed").write_text("CHANGED")
    os.utime(source / "changed", (900.0, 900.0))
    (source / "lost").unlink()
    shutil.rmtree(source / "deep")
    (source / "deep").write_text("a file where a folder was")
    (source / "new").write_text("new")
    copy_tree.copy_tree(source, target)
    assert (target / "same").stat().st_mtime == 1000.0
    assert (target / "changed").stat().st_mtime > 1000.0
    assert (target / "changed").read_text() == "CHANGED"
    assert not (target / "lost").exists()
    assert (target / "build").read_text() == "kept"
    assert copy_tree.files(target) == {".gitignore", "same", "changed", "new", "deep"}


def test_a_folder_without_git_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(subprocess.CalledProcessError):
        copy_tree.copy_tree(tmp_path / "source", tmp_path / "target")
    assert not (tmp_path / "target").exists()
