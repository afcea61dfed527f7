"""What scripts/gpu_check.sh and scripts/bench_gpu.py are made of."""
