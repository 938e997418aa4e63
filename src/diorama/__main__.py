"""`python -m diorama` is the `diorama` command."""

from diorama.cli import entry

if __name__ == "__main__":
    entry()
