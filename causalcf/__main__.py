"""`python -m causalcf` is the command `causalcf`."""

from causalcf.cli import main

if __name__ == "__main__":
    main()
