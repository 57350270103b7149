"""Every table of the service, so that migrations know them all."""

from streamcoop.accounts import models as accounts
from streamcoop.anchoring import models as anchoring
from streamcoop.catalogue import models as catalogue
from streamcoop.erasure import models as erasure
from streamcoop.governance import models as governance
from streamcoop.library import models as library
from streamcoop.membership import models as membership
from streamcoop.moderation import models as moderation
from streamcoop.operations import models as operations
from streamcoop.payouts import models as payouts
from streamcoop.royalties import models as royalties
from streamcoop.witness import models as witness

__all__ = [
    "accounts",
    "anchoring",
    "catalogue",
    "erasure",
    "governance",
    "library",
    "membership",
    "moderation",
    "operations",
    "payouts",
    "royalties",
    "witness",
]
