import pytest
import torch

from causalcf.core.errors import DataError, GraphError, InterventionError
from causalcf.datasets.synthetic import (
    AdditiveNoise,
    Discrete,
    Heteroscedastic,
    LinearGaussian,
    gumbel_max_counterfactual,
)

N = 20_000
CONTINUOUS = [LinearGaussian.random(6, seed=1), AdditiveNoise(), Heteroscedastic()]


def five_errors(probabilities, n):
    """Five standard errors of a share of n: below 1 false alarm in 100,000."""
    return 5 * (probabilities * (1 - probabilities)).clamp_min(0).div(n).sqrt() + 1e-9


@pytest.mark.parametrize("model", CONTINUOUS, ids=lambda model: type(model).__name__)
class TestContinuous:
    def test_noise_round_trip(self, model):
        noise = model.sample_noise(100, seed=3)
        recovered = model.abduct(model.predict(noise))
        for node in model.graph.nodes:
            torch.testing.assert_close(recovered[node], noise[node], atol=1e-10, rtol=0)

    def test_null_and_observed_value_actions_change_nothing(self, model):
        x = model.sample(50)
        first = model.graph.nodes[1]
        for cf in (model.counterfactual(x, {}), model.counterfactual(x, {first: x[first]})):
            for node in x:
                torch.testing.assert_close(cf[node], x[node], atol=1e-10, rtol=0)

    def test_counterfactual_is_the_same_unit_in_the_acted_world(self, model):
        node = model.graph.nodes[0]
        cf, acted = model.counterfactual(model.sample(50), {node: 1.0}), model.sample(50, do={node: 1.0})
        for name in cf:
            torch.testing.assert_close(cf[name], acted[name], atol=1e-10, rtol=0)

    def test_non_descendants_never_change(self, model):
        x = model.sample(50)
        last = model.graph.nodes[-1]
        cf = model.counterfactual(x, {last: 0.0})
        for name in model.graph.nodes[:-1]:
            torch.testing.assert_close(cf[name], x[name], atol=1e-10, rtol=0)

    @pytest.mark.parametrize("acted", [False, True])
    def test_means(self, model, acted):
        """Sample means lie within 5 standard errors (false alarms below 1 in 100,000 a node)."""
        do = {model.graph.nodes[0]: 0.7} if acted else None
        sample = model.sample(N, seed=5, do=do)
        for node, mean in model.mean(do).items():
            assert abs(sample[node].mean() - mean) <= 5 * sample[node].std() / N**0.5 + 1e-12

    def test_unknown_node(self, model):
        with pytest.raises(InterventionError, match=r"do names \['nowhere'\]"):
            model.sample(3, do={"nowhere": 1.0})


class TestLinearGaussian:
    def test_covariance_and_density_agree_with_a_multivariate_normal(self):
        model = LinearGaussian.random(5, seed=2)
        x = model.sample(20)
        values = torch.stack([x[node] for node in model.graph.nodes], 1)
        mean = torch.tensor(list(model.mean().values()), dtype=torch.float64)
        normal = torch.distributions.MultivariateNormal(mean, model.covariance())
        torch.testing.assert_close(model.log_prob(x), normal.log_prob(values))

    def test_acted_nodes_have_no_variance_and_pass_none_on(self):
        model = LinearGaussian({("a", "b"): 2.0}, scales={"b": 0.5})
        torch.testing.assert_close(model.covariance(), torch.tensor([[1.0, 2.0], [2.0, 4.25]], dtype=torch.float64))
        torch.testing.assert_close(model.covariance({"a": 1.0}), torch.tensor([[0, 0], [0, 0.25]], dtype=torch.float64))

    def test_nodes_without_edges_and_empty_graphs(self):
        assert LinearGaussian({}, intercepts={"a": 2.0}).mean() == {"a": 2.0}
        assert LinearGaussian.random(3, density=0.0).graph.edges == ()

    def test_bad_models(self):
        with pytest.raises(GraphError, match="cycle"):
            LinearGaussian({("a", "b"): 1.0, ("b", "a"): 1.0})
        with pytest.raises(DataError, match="Scales must be above 0"):
            LinearGaussian({("a", "b"): 1.0}, scales={"a": 0.0})


class TestDiscrete:
    def test_samples_have_the_exact_marginals(self):
        model = Discrete()
        for do in (None, {"A": True}, {"B": 0}):
            sample = model.sample(N, seed=2, do=do)
            for node, probabilities in model.probabilities(do).items():
                share = torch.bincount(sample[node].long(), minlength=len(probabilities)) / N
                assert ((share - probabilities).abs() <= five_errors(probabilities, N)).all()

    def test_null_action_keeps_every_label(self):
        model = Discrete()
        x = model.sample(200)
        cf = model.counterfactual(x, do={})
        for node in x:
            torch.testing.assert_close(cf[node].gather(1, x[node].long()[:, None]), torch.ones(200, 1).double())

    def test_counterfactuals_average_to_the_interventional(self):
        """Exact counterfactuals of N units: only the draw of the units is random (5 standard errors)."""
        model = Discrete()
        cf = model.counterfactual(model.sample(N, seed=1), do={"A": True})
        for node, probabilities in model.probabilities({"A": True}).items():
            assert ((cf[node].mean(0) - probabilities).abs() <= 5 * cf[node].std(0) / N**0.5 + 1e-9).all()

    def test_rejection_sampling_agrees(self):
        """Worlds share noise by seed, so pairs of worlds that start alike show the counterfactual law."""
        model = Discrete()
        seen, acted = model.sample(10 * N, seed=4), model.sample(10 * N, seed=4, do={"A": True})
        for b in range(3):
            rows = (~seen["A"]) & (seen["B"] == b) & seen["C"]
            exact = model.counterfactual(seen[rows][:1], do={"A": True})
            for node in ("B", "C"):
                p = exact[node][0]
                share = torch.bincount(acted[node][rows].long(), minlength=len(p)) / rows.sum()
                assert ((share - p).abs() <= five_errors(p, int(rows.sum()))).all()

    def test_bad_actions(self):
        with pytest.raises(InterventionError, match="do names 'D'"):
            Discrete().probabilities({"D": 1})
        with pytest.raises(InterventionError, match=r"expected a code 0\.\.2"):
            Discrete().sample(2, do={"B": 3})


def test_gumbel_max_against_simulation():
    """Top-down posterior draws (Maddison et al. 2014) against the closed form, 5 standard errors."""
    p = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    q = torch.tensor([0.3, 0.1, 0.35, 0.25], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for seen in range(4):
        top = -(-torch.rand(N, 1, generator=generator, dtype=torch.float64).log()).log()
        free = -(-torch.rand(N, 4, generator=generator, dtype=torch.float64).log()).log() + p.log()
        truncated = -torch.logaddexp(-free, -top)
        scores = torch.where(torch.arange(4) == seen, top, truncated) + q.log() - p.log()
        share = torch.bincount(scores.argmax(1), minlength=4) / N
        exact = gumbel_max_counterfactual(p[None], q[None], torch.tensor([seen]))[0]
        assert ((share - exact).abs() <= five_errors(exact, N)).all()


def test_gumbel_max_is_counterfactually_stable():
    p = torch.tensor([[0.5, 0.3, 0.2]])
    q = torch.tensor([[0.6, 0.2, 0.2]])
    cf = gumbel_max_counterfactual(p, q, torch.tensor([0]))
    torch.testing.assert_close(cf, torch.tensor([[1.0, 0.0, 0.0]]))
