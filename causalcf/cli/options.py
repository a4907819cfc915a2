"""The options that several commands share, each with its name and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from causalcf.catalogue import DATASETS
from causalcf.cli.parse import parse_device

__all__ = [
    "Again",
    "Balance",
    "Compile",
    "DataName",
    "Device",
    "Encoding",
    "Epochs",
    "FirstRows",
    "Fit",
    "Gaps",
    "Half",
    "Judges",
    "Key",
    "Latents",
    "Missing",
    "Model",
    "Models",
    "Out",
    "OwnFiles",
    "Precision",
    "Quiet",
    "Residuals",
    "Resume",
    "Retrain",
    "Root",
    "Rows",
    "Seed",
    "Split",
    "Threads",
    "Validation",
    "Vgg",
    "Workers",
]

Out = Annotated[Path, typer.Option(help="Folder for the results; made if it does not exist.")]


Seed = Annotated[int, typer.Option(help="What every random choice follows from.")]


DataName = Annotated[
    str,
    typer.Option(
        help=f"A data set ({', '.join(DATASETS)}), or the path of a CSV file, or of a folder of pictures with"
        " metadata.csv."
    ),
]


Encoding = Annotated[
    str | None, typer.Option(help="Encoding of a CSV file, such as cp1252 (Windows); by default UTF-8 or as it says.")
]


Missing = Annotated[
    list[str] | None,
    typer.Option(help="What a CSV file writes where there is no value, such as -9999; again for more."),
]


Key = Annotated[
    list[str] | None,
    typer.Option(
        help="Column of a CSV file that names its rows and is carried to every output; by default one that is no node"
        " and has another value in every row."
    ),
]


Root = Annotated[Path | None, typer.Option(help="Folder of the data set; by default $CAUSALCF_DATA.")]


Split = Annotated[str | None, typer.Option(help="Which split of the data set; by default test.")]


Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


Residuals = Annotated[
    list[str] | None,
    typer.Option(
        "--residual",
        help="A residual to score, again for another: a scale, 1 being abduction, or lengths over which it fades,"
        " thickness=1,digit=0. By default 1 and 0; for MorphoMNIST's tables also the lengths above.",
    ),
]


Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.", callback=parse_device)]


Threads = Annotated[int | None, typer.Option(help="CPU threads.", min=1)]


Precision = Annotated[str, typer.Option(help="32-true, bf16-mixed, 64-true.")]


Validation = Annotated[float, typer.Option(help="Share of the rows to validate on.")]


Fit = Annotated[
    str | None,
    typer.Option(
        help="How the pictures of a folder that have another size are made to fit: pad (the rest is black), crop,"
        " stretch, or exact, which refuses them; by default as the model was fitted, or pad."
    ),
]


FirstRows = Annotated[int | None, typer.Option(help="Use only the first rows.", min=1)]


Epochs = Annotated[int | None, typer.Option(help="Passes over the data.", min=0)]


Resume = Annotated[bool, typer.Option(help="Go on from a killed run's checkpoint (OUT.checkpoint).")]


Compile = Annotated[bool, typer.Option("--compile", help="Cheaper steps: CUDA graphs on a GPU, else torch.compile.")]


Gaps = Annotated[str, typer.Option(help='Rows with gaps: "refuse" them, or let the "model" draw what is missing.')]


Balance = Annotated[
    list[str] | None,
    typer.Option(help="Draw the values of this attribute equally often, such as eyeglasses; again for another."),
]


Half = Annotated[list[str] | None, typer.Option(help="Store this node's weights in half precision.")]


Model = Annotated[str, typer.Argument(help="A model file, or the name of a reference model.")]


Models = Annotated[
    list[str] | None, typer.Option(help="Reference models or model files; by default all reference models of the data.")
]


OwnFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--mechanism",
        help="A Python file that defines `scm`, a fitted model, or `mechanism`, an image mechanism, which is then"
        " fitted on the training split.",
    ),
]


Again = Annotated[list[str] | None, typer.Option(help="Compute this row again, even if it is there.")]


Retrain = Annotated[
    list[str] | None,
    typer.Option(
        help="Make this model again in OUT/models, by the commands in its file (a fit, or a fit and a fine-tuning), and"
        " compute its row."
    ),
]


Rows = Annotated[int, typer.Option(help="Test rows; 0 for all.", min=0)]


Judges = Annotated[Path | None, typer.Option(help="Folder of the judges; by default those that come along.")]


Latents = Annotated[
    Path | None,
    typer.Option(help="A fitted model of the images alone (graph morphomnist-image, celeba-image): the space of CLD."),
]


Vgg = Annotated[
    Path | None, typer.Option(help="VGG-16's file, vgg.pth beside it, for LPIPS; by default $CAUSALCF_WEIGHTS.")
]


Workers = Annotated[int, typer.Option(help="Processes that draw true counterfactuals.", min=1)]
