"""Pictures: graphs, counterfactuals, training curves. Nothing else in causalcf imports matplotlib.

Figures belong to no global registry, so nothing has to be closed; notebooks show them as images.
"""

from causalcf.plots.answers import plot_answer
from causalcf.plots.counterfactuals import plot_counterfactual
from causalcf.plots.estimates import plot_curve, plot_estimates
from causalcf.plots.explanations import plot_explanation
from causalcf.plots.graphs import draw_graph
from causalcf.plots.history import plot_history
from causalcf.plots.records import plot_records
from causalcf.plots.responses import plot_responses
from causalcf.plots.style import save_figure
from causalcf.plots.words import describe_actions

__all__ = [
    "describe_actions",
    "draw_graph",
    "plot_answer",
    "plot_counterfactual",
    "plot_curve",
    "plot_estimates",
    "plot_explanation",
    "plot_history",
    "plot_records",
    "plot_responses",
    "save_figure",
]
