"""`python -m tlcl` is the program `tlcl`."""

from tlcl.commands.program import main

if __name__ == "__main__":
    main()
