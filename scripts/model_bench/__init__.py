"""The parts of `scripts/bench_model.py`: whole models against transformers' RoFormer and others.

cases, inputs, contestants, check, match and memory, results, targets, report: in this order.
Timing is that of `bench`. Nothing of the package imports this.
"""
