"""`python -m ledger.verify`, and the script of the distribution that holds nothing else."""

from ledger.verify.command import verify_command

if __name__ == "__main__":
    verify_command()
