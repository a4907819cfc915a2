"""`python -m causalcf.costs` measures everything and prints the table."""

from causalcf.costs.run import main

main()
