"""What the scenarios of the benchmark on bars share."""

NODES = ("width", "brightness", "side")
"""What is acted on."""
