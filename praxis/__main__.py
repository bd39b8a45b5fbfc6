"""``python -m praxis``."""

from praxis.cli import main

if __name__ == "__main__":
    main()
