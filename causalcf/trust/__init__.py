"""Whether to trust a model: one report, whose first lines are a verdict in words."""

from causalcf.trust.report import TrustReport, trust_report

__all__ = ["TrustReport", "trust_report"]
