"""What a benchmark's process runs on: the processor's name, and how the C library keeps memory.

The one idea: an allocator setting is read once at start, so each is a process of its own. What must
stay true: no torch here, because the process that only starts others must begin at once.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}


def environment(allocator: str) -> dict[str, str]:
    """This environment with `allocator`: "default" is what a user has, "keep" gives nothing back.

    With "keep" freed blocks stay with the process, and a fresh block costs no page faults.
    """
    plain = {name: value for name, value in os.environ.items() if name not in KEEP}
    return plain | KEEP if allocator == "keep" else plain


def processor() -> str:
    """Name and number of cores, as the kernel tells them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"model name\s*:\s*(.+)", text)
    return f"{found.group(1) if found else 'unknown processor'}, {os.cpu_count()} cores"
