"""The membership contract as a request asks it: loaded when first needed, read only, its silence told as a problem.

Nobody asks with a transaction of the database open: a node may take seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamcoop.membership import service
from streamcoop.membership.refusals import RegisterUnavailable
from streamcoop.settings import settings

if TYPE_CHECKING:  # a process that is asked nothing of the chain need not load web3
    from streamcoop.adapters.members import Membership

NODE_TIMEOUT_S = 3.0
RETRY_AFTER_S = 5


@contextmanager
def asked() -> Iterator[Membership]:
    """The contract, for as long as the questions to it last.

    Raises ContractNotConfigured, and RegisterUnavailable where the chain does not answer, or is another one.
    """
    from streamcoop.adapters.chain import ChainError
    from streamcoop.adapters.members import Membership

    configured = settings()
    contract = service.require_contract(configured)
    try:
        yield Membership.connect(
            configured.chain_rpc_url, contract, chain_id=configured.chain_id, timeout_s=NODE_TIMEOUT_S
        )
    except ChainError as error:
        raise RegisterUnavailable(reason=type(error).__name__, retry_after_s=RETRY_AFTER_S) from error
