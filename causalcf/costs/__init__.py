"""What the library costs: benchmarks beside what it replaces, on a CPU and on a GPU."""
