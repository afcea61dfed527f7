"""The parts of `scripts/bench_rope.py`: what is measured, against whom, how, and how it is told.

cases, inputs, contestants and rivals, timing, match, rows, targets, report: in this order. Nothing
of the package imports this.
"""
