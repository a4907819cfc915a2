"""`python -m causalcf` is the command line."""

from causalcf.cli import main

main()
