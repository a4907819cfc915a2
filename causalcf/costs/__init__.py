"""Time and memory that the library costs, measured beside the code that it replaces."""
