"""`causalcf graphs`: the list, and a graph described and drawn."""

from cli.files import provenance_of
from matplotlib import image as mpl_image

import causalcf as ccf


def test_graphs_lists_what_there_is(run):
    code, out, _ = run("graphs")
    assert code == 0
    assert all(name in out for name in ccf.graph_names())


def test_a_graph_is_described_and_drawn(run, tmp_path):
    picture = tmp_path / "new" / "graph.png"
    code, out, _ = run("graphs", "morphomnist", "--out", picture, "--do", "intensity")
    assert code == 0
    assert "Positive" in out
    assert "in [64, 255] (grey levels)" in out
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in out
    assert mpl_image.imread(picture).std() > 0.1
    assert provenance_of(picture)["command"].startswith("causalcf graphs morphomnist")
