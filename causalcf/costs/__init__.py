"""What the library costs, measured beside what it replaces."""
