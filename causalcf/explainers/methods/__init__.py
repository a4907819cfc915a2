"""One explainer a file; their registry is `causalcf.explainers.EXPLAINERS`."""
