"""`python -m lungsight`: the command line."""

from lungsight.cli import main

if __name__ == "__main__":
    main()
