"""`python -m causalcf.costs` measures everything, prints the tables and writes them as JSON."""

import typer

from causalcf.costs.run import main

typer.run(main)
