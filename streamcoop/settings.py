"""What an operator sets: addresses of the parts, secrets, and the values a co-op is founded with.

Every setting is an environment variable `STREAMCOOP_<NAME>`. The embedded supervisor writes
the settings of the parts it starts to `<data_dir>/service.env`, so that every other command
finds the running service by its data folder alone; the environment wins over that file.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

import platformdirs
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ledger.constitution import Bound, Constitution, UnsuitableConstitution, numbers_of
from ledger.rates import Rates
from ledger.rules import Rules
from ledger.tariff import Tariff
from ledger.witness import PolicyRefused, parse_witnesses

PREFIX = "STREAMCOOP_"
SERVICE_ENV = "service.env"
# Anything shorter would be found in any text.
SECRET_LENGTH_MIN = 6
_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")


class UnknownSetting(Exception):
    """An environment variable starts with STREAMCOOP_ but names no setting."""


def data_dir() -> Path:
    """The folder all state lives in: `STREAMCOOP_DATA_DIR`, else one under the user's data home."""
    named = os.environ.get(f"{PREFIX}DATA_DIR")
    return Path(named) if named else Path(platformdirs.user_data_dir("streamcoop", "streamcoop"))


class Settings(BaseSettings):
    """Read once per process by `settings()`. Secrets have no default: a service without them does not start."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", env_file_encoding="utf-8", hide_input_in_errors=True
    )

    data_dir: Path = Field(default_factory=data_dir, description="The folder all state lives in.")

    # The parts.
    database_url: SecretStr = Field(description="PostgreSQL, as the service's own role (cannot change the books).")
    database_owner_url: SecretStr | None = Field(default=None, description="PostgreSQL, as the owner: migrations only.")
    broker_url: SecretStr = Field(description="Celery's broker: pgmq://... or amqp://...")
    objects_url: str = Field(description="Where audio and art are kept: file:///folder or s3://bucket.")
    s3_endpoint_url: str | None = Field(default=None, description="Where an S3 that is not Amazon's is reached.")
    s3_access_key_id: SecretStr | None = Field(
        default=None, description="Of the S3 account; without it boto3 looks for credentials as it always does."
    )
    s3_secret_access_key: SecretStr | None = Field(default=None, description="The secret that belongs to it.")
    accel_location: str | None = Field(
        default=None,
        pattern=r"^/(?:[A-Za-z0-9_-]+/)+$",
        description="The proxy's internal location of the objects, as /objects/: it then sends whole files itself.",
    )
    chain_rpc_url: str = Field(repr=False, description="JSON-RPC of the chain that carries the contracts.")
    chain_id: int | None = Field(default=None, description="Refuse a node that answers with another chain id.")
    membership_contract: str | None = Field(default=None, description="Address of CoopMembership.")
    anchor_contract: str | None = Field(
        default=None, description="Address of EpochAnchor. Without it: the log's heads are not anchored."
    )
    rate_registry: str | None = Field(
        default=None,
        description="Address of RateRegistry. Without it: what members decide is not written on the chain.",
    )
    chain_finality_depth: int = Field(
        default=0, ge=0, le=1_000, description="Blocks behind the head that count as final."
    )
    registrar_key: SecretStr | None = Field(
        default=None, description="Key that admits members and anchors. Without it: read only."
    )
    public_address: str = Field(default="http://localhost:8000", description="How people reach the service.")
    secret_key: SecretStr = Field(description="32 bytes, base64: encrypts play tokens and member keys.")
    log_origin: str | None = Field(
        default=None,
        pattern=r"^[^\s+]+$",
        max_length=255,
        description="What the co-op's log is called, for good: an address without its scheme, as log.coop.example.",
    )
    log_key: SecretStr | None = Field(
        default=None, description="32 bytes, base64: signs the shared log. Without it nothing is published."
    )
    witness_key: SecretStr | None = Field(
        default=None, description="32 bytes, base64: cosigns other co-ops' logs. Without it: no witness."
    )
    witness_name: str | None = Field(
        default=None,
        pattern=r"^[^\s+]+$",
        max_length=255,
        description="Under which name, for good; else the public address's host and `/witness`.",
    )
    log_witnesses: list[str] = Field(
        default_factory=list, description="Who cosigns this co-op's log: a JSON list of `<verifier key> <address>`."
    )
    log_witnesses_needed: int = Field(default=0, ge=0, description="How many of them a head needs.")
    ffmpeg: str | None = Field(default=None, description="Path of ffmpeg; else the one in the imageio-ffmpeg wheel.")

    # Limits of this installation.
    upload_bytes_max: int = Field(default=1 << 30, ge=1, description="Largest upload.")
    duration_s_max: int = Field(default=3 * 3600, ge=1, description="Longest recording.")
    requests_per_minute_address: int = Field(
        default=1_200, ge=0, description="What one IPv4 address or IPv6 /64 may ask of a process; 0: no limit."
    )
    requests_per_minute_account: int = Field(
        default=600, ge=0, description="What one account may ask of a process, from wherever; 0: no limit."
    )
    sign_in_failures_free: int = Field(
        default=5, ge=0, description="Failed sign-ins to an account from one place before each must wait; 0: none wait."
    )
    settle_interval_s: float = Field(default=1.0, gt=0, description="How often recorded plays are settled.")
    log_batch_seconds: int = Field(
        default=86_400, ge=1, description="What happens within so long is told together in the shared log."
    )
    log_batch_listeners_min: int = Field(
        default=10, ge=1, description="Plays of fewer listeners wait for the next, but for an epoch's close."
    )
    books_check_interval_s: int = Field(default=3600, ge=1, description="How often the books are added up again.")
    metrics_port: int | None = Field(
        default=None, ge=1, le=65_535, description="Where a worker tells its metrics; the first of a machine does."
    )
    metrics_host: str = Field(default="127.0.0.1", description="On which address. Whoever reaches it needs no token.")
    otlp_endpoint: str | None = Field(
        default=None, description="OTLP over HTTP, as http://host:4318: where traces go. Needs the extra `tracing`."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="From which level on log lines are written."
    )

    # What the co-op is founded with. Written to the database once, at the first start; changed there only by decision.
    coop_name: str = Field(default="StreamCoop", description="What the co-op is called.")
    currency: str = Field(
        default="EUR", pattern=r"^[A-Z]{3}$", description="ISO 4217: what members pay and artists are paid in."
    )
    credit_price_minor: int = Field(
        default=125, ge=1, description="Gross price of one credit, in the currency's minor unit."
    )
    artist_share_bp: int = Field(
        default=7_000, ge=0, le=10_000, description="The artists' share of net income until members vote another."
    )
    vat_bp: int = Field(default=1_100, ge=0, le=5_000, description="Rate of VAT on the price before tax.")
    payment_fee_bp: int = Field(default=150, ge=0, le=2_000, description="Payment fees, as a part of the gross.")
    licensing_bp: dict[str, int] = Field(
        default_factory=dict, description="Collecting societies and their part of the gross."
    )
    epoch_seconds: int = Field(default=0, ge=0, description="Length of an epoch; 0 is a calendar month (UTC).")
    epoch_grace_seconds: int = Field(default=86_400, ge=0, description="From an epoch's end to its close.")
    payout_minimum_minor: int = Field(
        default=1_000, ge=1, description="Payees are paid from this amount up, until members vote another."
    )
    listen_ms_max: int = Field(
        default=45_000, ge=100, description="T of the listening rule, at the most, until members vote another."
    )
    free_extra_ms: int = Field(default=15_000, ge=100, description="The free part beyond T.")
    token_ms_min: int = Field(default=1_800_000, ge=1_000, description="A play token lives at least this long.")

    # The constitution, which nothing changes after the founding.
    parameter_bounds: dict[str, dict[Literal["lowest", "highest", "step_max", "quantum"], int]] = Field(
        default_factory=dict,
        description="What members can decide, by parameter: lowest, highest, step_max, quantum where not as usual.",
    )
    quorum_bp: int = Field(
        default=2_000, ge=0, le=10_000, description="Of all weight; what is missing to it votes for the status quo."
    )
    class_quorum_bp: dict[str, int] = Field(
        default_factory=dict, description="The same of a class's weight; none where it is not named."
    )
    waiting_seconds: int = Field(
        default=30 * 86_400, ge=0, description="How long one is a member before a ballot's snapshot to vote in it."
    )
    delegation_cap: int = Field(default=10, ge=1, description="Votes a member has at the most, her own included.")
    supporters_min: int = Field(default=3, ge=1, description="Members who have to want a ballot.")
    discussion_seconds: int = Field(default=7 * 86_400, ge=0, description="How long a proposal is discussed.")
    ballot_seconds_min: int = Field(default=3 * 86_400, ge=1, description="The shortest time for votes.")
    ballot_seconds_max: int = Field(default=90 * 86_400, ge=1, description="The longest.")
    quiet_seconds: int = Field(default=6 * 3_600, ge=0, description="A vote so shortly before the close puts it off.")
    extension_seconds_max: int = Field(default=2 * 86_400, ge=0, description="By so much in all.")
    timelock_seconds: int = Field(
        default=2 * 86_400, ge=0, description="From a decision in the registry to its effect, by the chain's clock."
    )
    office_delay_seconds: int = Field(
        default=2 * 86_400, ge=0, description="From the announcement of another officer or registrar to the change."
    )
    share_minor: int = Field(default=1_000, ge=0, description="A member's share, in the currency's minor unit.")
    share_refund_seconds: int = Field(
        default=180 * 86_400, ge=0, description="From leaving until the share is paid back."
    )

    @model_validator(mode="after")
    def _grace_outlives_short_tokens(self) -> Self:
        if self.epoch_grace_seconds * 1_000 <= self.token_ms_min:
            raise ValueError(
                "epoch_grace_seconds must exceed token_ms_min: a play may be recorded until its token ends"
            )
        return self

    @field_validator("witness_key", "log_key")
    @classmethod
    def _a_whole_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not _KEY.fullmatch(key.get_secret_value()):
            raise ValueError("not 32 bytes in base64")
        return key

    @model_validator(mode="after")
    def _enough_witnesses(self) -> Self:
        try:
            witnesses = parse_witnesses(self.log_witnesses)
        except PolicyRefused as refusal:
            raise ValueError(f"log_witnesses: {refusal.facts['reason']}") from refusal
        if self.log_witnesses_needed > len(witnesses):
            raise ValueError("log_witnesses_needed is more than log_witnesses has")
        return self

    @model_validator(mode="after")
    def _a_constitution(self) -> Self:
        try:
            self.constitution()
        except UnsuitableConstitution as refusal:
            raise ValueError(str(refusal)) from refusal
        return self

    def constitution(self) -> Constitution:
        """The constitution a co-op is founded with: the usual one, but for what is set. A co-op that begins with a
        shorter listen than usual may keep it.
        """
        usual = Constitution()
        unknown = self.parameter_bounds.keys() - usual.parameters.keys()
        if unknown:
            raise UnsuitableConstitution(reason="not an open parameter", parameters=sorted(unknown))
        least = {"listen_ms_max": {"lowest": min(usual.parameters["listen_ms_max"].lowest, self.listen_ms_max)}}
        parameters = {
            name: Bound(**asdict(bound) | least.get(name, {}) | self.parameter_bounds.get(name, {}))
            for name, bound in usual.parameters.items()
        }
        return Constitution(
            parameters=parameters,
            quorum_bp=self.quorum_bp,
            class_quorum_bp={**usual.class_quorum_bp, **self.class_quorum_bp},
            waiting_seconds=self.waiting_seconds,
            delegation_cap=self.delegation_cap,
            supporters_min=self.supporters_min,
            discussion_seconds=self.discussion_seconds,
            ballot_seconds_min=self.ballot_seconds_min,
            ballot_seconds_max=self.ballot_seconds_max,
            quiet_seconds=self.quiet_seconds,
            extension_seconds_max=self.extension_seconds_max,
            timelock_seconds=self.timelock_seconds,
            office_delay_seconds=self.office_delay_seconds,
            share_minor=self.share_minor,
            share_refund_seconds=self.share_refund_seconds,
        )

    def founding_numbers(self) -> dict[str, int]:
        """The open parameters a co-op is founded with."""
        rules = Rules(self.payout_minimum_minor, self.listen_ms_max)
        return numbers_of(Tariff(), Rates(artist_share_bp=self.artist_share_bp), rules)

    def secrets(self) -> set[str]:
        """What must never be told: every secret, the passwords within addresses, and a chain's provider's key."""
        told = [value.get_secret_value() for value in dict(self).values() if isinstance(value, SecretStr)]
        parts = [urlsplit(value) for value in [*told, self.chain_rpc_url]]
        within = [form for p in parts if p.password for form in (p.password, unquote(p.password))]
        key = parts[-1].path.strip("/")
        return {secret for secret in [*told, *within, key] if len(secret) >= SECRET_LENGTH_MIN}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  (pydantic-settings' own signature)
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, dotenv_settings


def load() -> Settings:
    """The settings from the environment and the data folder's `service.env`.

    Raises `UnknownSetting` for a misspelt variable and pydantic's ValidationError for a wrong value.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise UnknownSetting(f"no such setting: {', '.join(unknown)}")
    return Settings(_env_file=data_dir() / SERVICE_ENV)  # type: ignore[call-arg]  # pydantic-settings' own argument


@cache
def settings() -> Settings:
    """This process's settings, read at first use."""
    return load()
