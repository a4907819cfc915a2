"""Time and memory that the library costs, beside the code that it replaces, on a CPU and on a GPU."""
