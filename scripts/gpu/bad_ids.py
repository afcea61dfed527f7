"""A position id outside the table must end in a device-side assertion, and in nothing else.

An assertion spoils the CUDA context, so each id is tried in a process of its own, on x in a layout
that the vector path takes and on one that it does not.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ATTEMPT = """
import torch, roformer_ext
x = torch.randn(2, 5, 3, {width}, device="cuda")
cos = torch.ones(7, {width} // 2, device="cuda")
ids = torch.zeros(2, 5, dtype=torch.int64, device="cuda")
ids[1, 4] = {bad}
roformer_ext.rope(x, cos, cos, ids, seq_dim=1)
torch.cuda.synchronize()
"""


CASES = tuple(itertools.product((-2, 7, 2**31 - 1, -(2**31), 2**40), (64, 6)))


def attempt(case: tuple[int, int]) -> subprocess.CompletedProcess[str]:
    code = ATTEMPT.format(bad=case[0], width=case[1])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def main() -> int:
    wrong = 0
    with ThreadPoolExecutor(4) as pool:
        for (bad, width), run in zip(CASES, pool.map(attempt, CASES), strict=True):
            reported = run.returncode != 0 and "position_ids_are_rows_or_minus_one" in run.stderr
            print(f"id {bad}, width {width}: {'reported' if reported else 'NOT REPORTED'}")
            if not reported:
                print(run.stderr[-800:])
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
