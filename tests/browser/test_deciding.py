"""A member in a real browser: she makes a passkey, votes with it, and the next epoch pays by what was voted."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from streamcoop.demo.client import Json, Person, until
from streamcoop.embedded.temporary import Service
from tests.browser.chromium import window
from tests.whole_service import PASSWORD, admit, somebody

SHARE = "artist_share_bp"
WAIT_S = 180.0
OPEN_S = 45


def in_state(someone: Person, path: str, state: str) -> Json:
    def found() -> Json | None:
        told = someone.get(path)
        assert told["state"] not in {"stopped", "refused"}, told
        return told if told["state"] == state else None

    return until(found, f"{path} {state}", WAIT_S)


def test_a_vote_with_a_passkey_changes_what_the_next_epoch_pays(browser: Browser, service: Service) -> None:
    member = somebody(service, "Wulan").join()
    applied = member.post("/api/v1/membership", {"member_class": "listener"})
    admit(service, applied["id"])
    in_state(member, "/api/v1/membership", "member")
    with window(browser, service, member) as hers:
        page = hers.page
        devtools = hers.context.new_cdp_session(page)
        devtools.send("WebAuthn.enable")
        lock = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
        more = {"isUserVerified": True, "automaticPresenceSimulation": True}
        devtools.send("WebAuthn.addVirtualAuthenticator", {"options": lock | more})
        hers.go("/decide/membership")
        page.get_by_label("What to call it").fill("Laptop")
        page.locator("#passkey-password").fill(PASSWORD)
        page.get_by_role("button", name="Make a passkey").click()
        expect(page.locator("#passkeys .rows")).to_contain_text("Laptop")

        before = member.get("/api/v1/rates")["in_force"][SHARE]
        asked = {"title": "The artists' share", "text": "", "parameters": [SHARE], "open_for_seconds": OPEN_S}
        path = f"/api/v1/ballots/{member.post('/api/v1/ballots', asked)['id']}"
        in_state(member, path, "open")
        hers.go(path.replace("/api/v1", ""))
        wanted = before + 100 if before < 8_000 else before - 100
        page.locator(f'form.vote input[type=number][name="{SHARE}"]').fill(str(wanted / 100))
        page.get_by_role("button", name="Sign with your passkey and vote").click()
        expect(page.locator("#toasts")).to_contain_text("Your vote is taken")

        effective = in_state(member, path, "effective")
        # Others of the shared service may be members too, and have not voted: the status quo pulls.
        assert effective["questions"][0]["result"] in {wanted, before}
        assert effective["tally"]["kept_key_weight"] == 1
        hers.go(path.replace("/api/v1", ""))
        expect(page.locator("main")).to_contain_text(hers_address(member)[:8])


def hers_address(member: Person) -> str:
    return str(member.get("/api/v1/membership")["address"])
