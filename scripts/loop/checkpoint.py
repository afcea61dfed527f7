"""What an interrupted training needs to go on: one file, replaced in one step.

The one idea: a checkpoint belongs to the settings that made it. It is written beside the old one
and renamed over it, so a kill at any moment leaves a whole file; it is read with
``weights_only=True``, so it can hold nothing but numbers, strings and tensors.
Random numbers need no state of their own: each step seeds them anew (see ``optimizer``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from loop.command import BadSetting

NAME = "checkpoint.pt"


def exists(out: Path) -> bool:
    """Whether the folder holds a training to go on with."""
    return (out / NAME).exists()


def drop(out: Path) -> None:
    """Forget the training in a folder, if there is one."""
    (out / NAME).unlink(missing_ok=True)


def save(out: Path, settings: dict[str, Any], state: dict[str, Any]) -> None:
    """Write state for these settings into the folder out."""
    whole, part = out / NAME, out / f"{NAME}.part"
    with part.open("wb") as file:
        torch.save({"settings": settings, "state": state}, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(whole)


def load(out: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The state that out holds for these settings, tensors on the CPU; None where there is none.

    Raises BadSetting when the checkpoint was made with other settings, naming the first of them.
    """
    if not exists(out):
        return None
    path = out / NAME
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        made_with = content["settings"]
        state: dict[str, Any] = content["state"]
    except Exception as error:
        raise BadSetting(
            f"--out {out} holds a {NAME} that cannot be read ({type(error).__name__}); "
            "add --restart to start over"
        ) from error
    for name, wanted in settings.items():
        found = made_with.get(name)
        if found != wanted:
            raise BadSetting(
                f"--out {out} holds a training with {name} {found}, not {wanted}; "
                "choose another --out, or add --restart to start over"
            )
    return state
