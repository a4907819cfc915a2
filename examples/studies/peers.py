"""The searches of this library beside those of others: the same images, classifier, settings and number of steps.

Three algorithms have peers that pip installs: steps along the gradient's sign (PGD; Madry et al. 2018), the elastic-net
search by FISTA that CEM and CFProto are made of (EAD; Chen et al., "EAD: Elastic-Net Attacks to Deep Neural Networks
via Adversarial Examples", 2018), and CEM's pertinent negatives without the autoencoder. Every side has the same images,
the same small convolutional classifier, the same settings and steps. A peer that is not installed is left out, and
named. None is a dependency: `pip install captum foolbox torchattacks adversarial-robustness-toolbox`, and in an
environment of its own, as it wants old versions of others, `pip install alibi tensorflow-cpu==2.14.1`.

Run it: python examples/studies/peers.py --out runs/peers
A small one: python examples/studies/peers.py --data digits --n 8 --steps 5 --repeats 1 --epochs 2 \
             --out runs/peers-small
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from math import nan
from pathlib import Path
from typing import Annotated

import torch
import typer
from setting import Data, Epochs, Model, Networks, Out, Scores, Seed, Setting, table, write
from torch import Tensor, nn

import causalcf as ccf
from causalcf.explainers.elastic import ElasticSearch
from causalcf.explainers.query import Query
from causalcf.explainers.targets import l1, squared_l2

COLUMNS = [
    "seconds", "times ours", "valid", "elastic-net distance", "median difference to ours", "images equal to ours",
]  # fmt: skip

RADIUS, STEP = 64 / 255, 1 / 255
"""Of PGD."""
C, BETA, LR = 10.0, 0.1, 0.01
"""Of the elastic net: first weight of the classifier, weight of the L1 norm, first step size."""


@dataclass(eq=False, kw_only=True)
class ElasticNet(ElasticSearch):
    """What CEM and CFProto have in common, alone: no autoencoder, no prototype."""

    def penalty(self, query: Query, x: Tensor) -> Tensor:
        return x.new_zeros(query.rows)


class PertinentNegatives(ElasticNet):
    """The same, and ink is only added; any class but the predicted one will do."""

    sign = 1


@dataclass(frozen=True)
class Task:
    """What every side is given.

    Args:
        scm: A model of the images; only ours asks for one.
        f: Images to logits.
        x: Images (N, 1, H, W).
        target: Classes asked for, (N,).
        steps: Of the search; of each round for the elastic net.
        rounds: Of the elastic net's bisection.
        untargeted: Whether any class but the predicted one will do.
    """

    scm: ccf.SCM
    f: nn.Module
    x: Tensor
    target: Tensor
    steps: int
    rounds: int
    untargeted: bool


# ---------------------------------------------------------------------- the sides


def our_pgd(task: Task) -> Tensor:
    """PGD of this library."""
    settings = {"radius": RADIUS, "step": STEP, "max_steps": task.steps}
    return ccf.explainers.PGD(task.scm, classifier=task.f, **settings).explain(task.x, task.target).counterfactual


def our_elastic_net(task: Task) -> Tensor:
    """The elastic-net search of this library."""
    settings = {"c": C, "c_steps": task.rounds, "beta": BETA, "lr": LR, "max_steps": task.steps}
    return ElasticNet(task.scm, classifier=task.f, **settings).explain(task.x, task.target).counterfactual


def our_pertinent_negatives(task: Task) -> Tensor:
    """CEM's of this library."""
    settings = {"c": C, "c_steps": task.rounds, "beta": BETA, "lr": LR, "max_steps": task.steps}
    return PertinentNegatives(task.scm, classifier=task.f, **settings).explain(task.x, None).counterfactual


def captum_pgd(task: Task) -> Tensor:
    """Captum's."""
    from captum.robust import PGD

    attack = PGD(task.f, nn.CrossEntropyLoss(reduction="none"), lower_bound=0, upper_bound=1)
    return attack.perturb(task.x, RADIUS, STEP, task.steps, task.target, targeted=True)


def torchattacks_pgd(task: Task) -> Tensor:
    """Torchattacks'."""
    import torchattacks

    attack = torchattacks.PGD(task.f, eps=RADIUS, alpha=STEP, steps=task.steps, random_start=False)
    attack.set_mode_targeted_by_label(quiet=True)
    return attack(task.x, task.target)


def foolbox_pgd(task: Task) -> Tensor:
    """Foolbox's."""
    import foolbox

    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=task.steps, random_start=False)
    criterion = foolbox.criteria.TargetedMisclassification(task.target)
    return attack.run(foolbox.PyTorchModel(task.f, bounds=(0, 1)), task.x, criterion, epsilon=RADIUS)


def foolbox_elastic_net(task: Task) -> Tensor:
    """Foolbox's EAD; where it fails it gives a black image."""
    import foolbox

    attack = foolbox.attacks.EADAttack(
        binary_search_steps=task.rounds, steps=task.steps, initial_stepsize=LR, initial_const=C, regularization=BETA,
        abort_early=False,
    )  # fmt: skip
    criterion = foolbox.criteria.TargetedMisclassification(task.target)
    return attack.run(foolbox.PyTorchModel(task.f, bounds=(0, 1)), task.x, criterion)


def art_pgd(task: Task) -> Tensor:
    """The Adversarial Robustness Toolbox's."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch

    attack = ProjectedGradientDescentPyTorch(
        _for_art(task), eps=RADIUS, eps_step=STEP, max_iter=task.steps, targeted=True, batch_size=len(task.x),
        verbose=False,
    )  # fmt: skip
    return torch.from_numpy(attack.generate(task.x.numpy(), task.target.numpy()))


def art_elastic_net(task: Task) -> Tensor:
    """The Adversarial Robustness Toolbox's EAD; where it fails it gives the factual."""
    from art.attacks.evasion import ElasticNet as Attack

    attack = Attack(
        _for_art(task), targeted=True, learning_rate=LR, binary_search_steps=task.rounds, max_iter=task.steps,
        beta=BETA, initial_const=C, batch_size=len(task.x), verbose=False,
    )  # fmt: skip
    return torch.from_numpy(attack.generate(task.x.numpy(), task.target.numpy()))


def _for_art(task: Task) -> object:
    from art.estimators.classification import PyTorchClassifier

    shape, classes = tuple(task.x.shape[1:]), int(task.f(task.x[:1]).shape[1])
    loss = nn.CrossEntropyLoss()
    return PyTorchClassifier(task.f, loss, shape, classes, clip_values=(0, 1), device_type="cpu")


def alibi_pertinent_negatives(task: Task) -> Tensor:
    """Alibi's CEM, one image at a time; its hinge is on probabilities, and where it fails it gives the factual."""
    from alibi.explainers import CEM

    search = CEM(
        _for_tensorflow(task), mode="PN", shape=(1, *task.x.shape[2:], task.x.shape[1]), kappa=0.0, beta=BETA,
        feature_range=(0.0, 1.0), gamma=0.0, c_init=C, c_steps=task.rounds, max_iterations=task.steps,
        learning_rate_init=LR, no_info_val=0.0,
    )  # fmt: skip
    found = []
    for image in task.x.permute(0, 2, 3, 1).split(1):
        negative = search.explain(image.numpy(), verbose=False).PN
        found.append(image if negative is None else torch.from_numpy(negative))
    return torch.cat(found).permute(0, 3, 1, 2).float()


def _for_tensorflow(task: Task) -> object:
    """The classifier, layer by layer, in Keras, with a softmax; on one thread."""
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    one = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    tf.keras.backend.set_session(tf.Session(config=one))
    made, weights = [tf.keras.layers.InputLayer((*task.x.shape[2:], task.x.shape[1]))], []
    for layer in task.f:
        if isinstance(layer, nn.Conv2d):
            made += [
                tf.keras.layers.ZeroPadding2D(layer.padding),
                tf.keras.layers.Conv2D(layer.out_channels, layer.kernel_size, layer.stride),
            ]
            weights += [layer.weight.permute(2, 3, 1, 0).numpy(), layer.bias.numpy()]
        elif isinstance(layer, nn.Linear):
            made.append(tf.keras.layers.Dense(layer.out_features))
            weights += [layer.weight.T.numpy(), layer.bias.numpy()]
        elif isinstance(layer, nn.Flatten):
            made += [tf.keras.layers.Permute((3, 1, 2)), tf.keras.layers.Flatten()]
        else:
            made.append(tf.keras.layers.ReLU())
    network = tf.keras.Sequential([*made, tf.keras.layers.Softmax()])
    network.set_weights(weights)
    return network


@dataclass(frozen=True)
class Peer:
    """Another library's version of one of our algorithms.

    Args:
        package: As pip calls it.
        module: As Python calls it.
        run: Counterfactual images.
    """

    package: str
    module: str
    run: Callable[[Task], Tensor]

    @property
    def line(self) -> str:
        """Package and version."""
        try:
            return f"{self.package} {version(self.package)}"
        except PackageNotFoundError:
            return self.package


ART = ("adversarial-robustness-toolbox", "art")
ALGORITHMS: dict[str, tuple[Callable[[Task], Tensor], list[Peer]]] = {
    "PGD": (
        our_pgd,
        [
            Peer("captum", "captum", captum_pgd),
            Peer("torchattacks", "torchattacks", torchattacks_pgd),
            Peer("foolbox", "foolbox", foolbox_pgd),
            Peer(*ART, art_pgd),
        ],
    ),
    "elastic net": (our_elastic_net, [Peer("foolbox", "foolbox", foolbox_elastic_net), Peer(*ART, art_elastic_net)]),
    "pertinent negatives": (our_pertinent_negatives, [Peer("alibi", "alibi", alibi_pertinent_negatives)]),
}
"""Algorithm -> ours, and the peers."""


# ---------------------------------------------------------------------- the comparison


def compare(task: Task, ours: Callable[[Task], Tensor], peers: list[Peer], repeats: int) -> dict[str, Scores]:
    """A line for every side that is installed: the least processor time of some runs, in turns, and what came out."""
    sides = {f"causalcf {ccf.__version__}": ours} | {peer.line: peer.run for peer in peers if find_spec(peer.module)}
    seconds, images = dict.fromkeys(sides, float("inf")), {}
    for _ in range(repeats):
        for name, run in sides.items():
            start = time.process_time()
            images[name] = run(task).detach()
            seconds[name] = min(seconds[name], (time.process_time() - start) / len(task.x))
    first = next(iter(sides))
    return {
        name: {
            column: (value, nan)
            for column, value in zip(
                COLUMNS,
                [seconds[name], seconds[name] / seconds[first], *_outcome(task, images[name], images[first])],
                strict=True,
            )
        }
        for name in sides
    }


@torch.no_grad()
def _outcome(task: Task, x: Tensor, ours: Tensor) -> list[float]:
    """Validity, elastic-net distance of the valid, and how far the images are from ours."""
    said = task.f(x).argmax(1)
    valid = said != task.f(task.x).argmax(1) if task.untargeted else said == task.target
    distance = BETA * l1(x, task.x) + squared_l2(x, task.x)
    difference = (x - ours).abs().flatten(1).amax(1)
    equal = (difference < 1e-3).float().mean()
    return [float(value) for value in (valid.float().mean(), distance[valid].mean(), difference.median(), equal)]


def missing() -> list[str]:
    """Packages of peers that are not installed."""
    wanted = {peer.package: peer.module for _, peers in ALGORITHMS.values() for peer in peers}
    return [package for package, module in wanted.items() if find_spec(module) is None]


def main(
    data: Data = "mnist",
    out: Out = Path("runs/peers"),
    n: Annotated[int, typer.Option(help="Queries.")] = 64,
    steps: Annotated[int, typer.Option(help="Steps of every search, or round of it.")] = 100,
    rounds: Annotated[int, typer.Option(help="Rounds of the elastic net's bisection.")] = 5,
    repeats: Annotated[int, typer.Option(help="Runs of every side, of which the fastest counts.")] = 3,
    epochs: Epochs = None,
    seed: Seed = 0,
    model: Model = "mnist-vae",
    networks: Networks = None,
) -> None:
    """Our searches and theirs, in one run."""
    setting = Setting(data, out, epochs, seed, model, networks)
    setting.classifier = setting.small("cnn", setting.train)  # of layers that every library has
    x, target = setting.queries(None, None, n, seed=seed)
    for algorithm, (ours, peers) in ALGORITHMS.items():
        untargeted = algorithm == "pertinent negatives"
        task = Task(setting.generator, setting.classifier, x, target, steps, rounds, untargeted)
        lines = compare(task, ours, peers, repeats)
        table(f"{algorithm}: {n} queries, {steps} steps; of an elastic net {rounds} rounds", COLUMNS, lines)
        write(setting, algorithm.replace(" ", "-"), lines, n=n, steps=steps, rounds=rounds, repeats=repeats)
    if missing():
        print(f"Not installed, and left out: pip install {' '.join(missing())}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    typer.run(main)
