"""What tools/gpu_report.py measures on a GPU, and the package of programs that it measures."""
