"""`streamcoop contracts deploy`: the co-op's contracts, put on the chain it is founded on."""

from __future__ import annotations

from pathlib import Path

import click

from ledger.errors import DomainError
from streamcoop.embedded.chain.founding import FoundingInvalid, founding
from streamcoop.settings import PREFIX, Settings, settings

RECORD = "contracts.json"


@click.group("contracts")
def contracts_command() -> None:
    """The co-op's contracts on the chain."""


@contracts_command.command("deploy")
@click.option("--officer", "officers", multiple=True, required=True, metavar="ADDRESS", help="Two officers or more.")
@click.option(
    "--administrator",
    required=True,
    metavar="ADDRESS",
    help="Who may give the registrar's tasks to another key: best no key of this service.",
)
@click.option("--record", type=click.Path(path_type=Path, dir_okay=False), default=RECORD, show_default=True,
              help="Where what was signed is kept. Given again, an interrupted deployment goes on there.")  # fmt: skip
def deploy_contracts(officers: tuple[str, ...], administrator: str, record: Path) -> None:
    """Put the three contracts on the chain of STREAMCOOP_CHAIN_RPC_URL, made by this service's settings.

    The registrar's key pays for them and is the registrar. What the constitution says cannot be changed afterwards:
    look at `docs/configuration.md` first. Safe to repeat with the same record.
    """
    # The other commands need no web3, which takes a second to load.
    from requests import RequestException
    from web3.exceptions import Web3Exception

    from streamcoop.adapters import deploying
    from streamcoop.adapters.chain import ChainError

    configured = settings()
    try:
        key, origin = _told(configured)
        founded = founding(officers, configured.constitution().as_json() | {"rates": configured.founding_numbers()})
        made = deploying.constructors(founded, administrator, deploying.account_of(key), origin)
        deployed = deploying.deploy(configured.chain_rpc_url, key, made, record, configured.chain_id)
    except (ChainError, DomainError, FoundingInvalid) as refused:
        raise click.ClickException(str(refused)) from refused
    except (RequestException, Web3Exception) as failed:
        said = f"the node does not answer with sense: {type(failed).__name__}. Deploy again, it goes on where it was"
        raise click.ClickException(said) from failed
    for each in deployed:
        click.echo(f"{each.setting}={each.address}")
    for each in deployed:
        click.echo(f"# code of {each.address}: {each.code_hash}")
    click.echo("# Put the addresses into the service's environment, keep the record, and write the founding note.")


def _told(configured: Settings) -> tuple[str, str]:
    """The registrar's key and the log's origin."""
    if configured.registrar_key is None:
        raise FoundingInvalid(f"set {PREFIX}REGISTRAR_KEY: it deploys, and is the registrar")
    if configured.log_origin is None:
        raise FoundingInvalid(f"set {PREFIX}LOG_ORIGIN: the anchors' contract is of one log for good")
    return configured.registrar_key.get_secret_value(), configured.log_origin
