"""`python -m fanns` is the command `fanns`."""

from fanns.cli import main

if __name__ == "__main__":
    main()
