"""One frozen settings object, from `HEADRACE_*` variables and a `.env` file.

Guarantee: nothing else in Headrace reads the environment. Every field has a unit in its name or its
description; secrets do not show in `repr`. Nested settings use two underscores, for example
`HEADRACE_S3__ENDPOINT_URL`. Kafka's own properties pass through: `HEADRACE_KAFKA__SASL_MECHANISM` becomes
`sasl.mechanism`.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from infra.errors import SettingError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PREFIX = "HEADRACE"


class S3Settings(BaseModel):
    """How to reach an S3 store, when the lake is `s3://bucket/prefix`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint_url: str | None = Field(None, description="URL of the S3 server; empty means AWS.")
    access_key: SecretStr | None = Field(None, description="Access key id.")
    secret_key: SecretStr | None = Field(None, description="Secret access key.")
    region: str = Field("us-east-1", description="Region that requests are signed for.")
    ca_file: Path | None = Field(
        None,
        description="PEM file of the authorities that sign certificates of HTTPS servers; empty means the machine's.",
    )


class PortSettings(BaseModel):
    """Ports of the servers that `headrace up` and `headrace servers up` start, all on the loopback address."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    broker: int = Field(19092, ge=1, le=65535, description="Kafka protocol.")
    registry: int = Field(18081, ge=1, le=65535, description="Schema registry.")
    prefect: int = Field(14200, ge=1, le=65535, description="Prefect server and UI.")
    kafka: int = Field(29092, ge=1, le=65534, description="Apache Kafka; its controller has the next one.")
    minio: int = Field(29000, ge=1, le=65535, description="MinIO.")
    http: int = Field(18080, ge=1, le=65535, description="Headrace's HTTP service and page.")
    metrics: int = Field(18100, ge=1, le=65500, description="First of the jobs' metrics ports, one a job.")


class IngestSettings(BaseModel):
    """Bounds on what a delivery may be, and how it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chunk_rows: int = Field(50_000, ge=1, description="Records written in one Kafka transaction.")
    file_bytes_max: int = Field(20 * 2**30, ge=1, description="Largest file accepted, bytes as sent.")
    expanded_bytes_max: int = Field(
        200 * 2**30, ge=1, description="Most bytes read from one compressed file."
    )
    expansion_max: int = Field(
        500,
        ge=2,
        description="Most bytes that one byte of a compressed file expands to, once it has expanded to 64 MiB.",
    )
    record_bytes_max: int = Field(1 * 2**20, ge=1, description="Largest single record, bytes.")
    depth_max: int = Field(16, ge=2, description="Deepest nesting of XML elements or JSON values.")
    text_chars_max: int = Field(1_000, ge=1, description="Longest id or name, characters.")
    upload_bytes_per_s_min: int = Field(
        1_000, ge=1, description="Least speed of an upload by HTTP, bytes a second, after its first minute."
    )
    inbox: Path | None = Field(None, description="Folder watched for files: INBOX/CUSTOMER/CONTENT*.EXT.")
    inbox_poll_s: float = Field(2.0, gt=0, description="Time between two looks into the inbox, seconds.")


class HttpSettings(BaseModel):
    """Who may ask the HTTP service, and how much."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: SecretStr | None = Field(
        None,
        min_length=32,
        max_length=200,
        description="Token of the installation itself, with all scopes, at least 32 characters that cannot be guessed; "
        "empty means the one in HOME/token that `headrace up` makes.",
    )
    requests_per_s: float = Field(
        100.0,
        gt=0,
        description="Requests a second that one token may make of one process, where it says nothing else.",
    )


class StreamSettings(BaseModel):
    """How the stream jobs batch, wait and flush."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker: str = Field(
        "0",
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
        description="Name of this worker among its job's; two live workers never share one.",
    )
    session_ms: int = Field(
        6_000,
        ge=1_000,
        description="Silence after which a worker's partitions go to others, milliseconds; "
        "brokers take no less than 6000 unless they are set up so.",
    )
    rules: str = Field(
        "stream_jobs.rules:SALES_RULES",
        description="Python module (or module:NAME) with the rules that sales are judged by.",
    )
    batch_rows_max: int = Field(20_000, ge=1, description="Messages taken at once.")
    batch_wait_ms: int = Field(
        50, ge=0, description="Longest wait for a batch to fill after its first message, milliseconds."
    )
    transaction_rows_max: int = Field(50_000, ge=1, description="Messages judged in one Kafka transaction.")
    transaction_wait_ms: int = Field(
        500, ge=0, description="Longest life of a transaction with rows in it, milliseconds."
    )
    linger_ms: int = Field(
        20, ge=0, description="Longest wait of a written message for others to be sent with, milliseconds."
    )
    master_wait_s_max: float = Field(
        3600.0,
        gt=0,
        description="Longest wait for master data accepted before a sale, seconds; then the sale is judged.",
    )
    windows: str = Field(
        "day=tumbling:1d, week=hopping:7d/1d",
        description="Windows in which sales are summed: NAME=SHAPE:SIZE, or SIZE/HOP when hopping, by commas; "
        "shapes are tumbling, hopping and sliding, sizes such as 90m, 12h or 7d on the location's clock.",
    )
    window_grace: str = Field(
        "3d",
        description="How long after its end a window waits for late sales and corrections, in the sales' own time.",
    )
    window_update_s: float = Field(
        5.0, gt=0, description="Least time between two updates of windows that are still open, seconds."
    )
    snapshot_s: float = Field(
        300.0, gt=0, description="Least time between two snapshots of what a job keeps in memory, seconds."
    )
    flush_rows_max: int = Field(500_000, ge=1, description="Rows of a partition that close a Parquet file.")
    flush_bytes_max: int = Field(
        256 * 2**20, ge=1, description="Buffered bytes of a partition that close a file."
    )
    buffer_bytes_max: int = Field(
        512 * 2**20,
        ge=1,
        description="Buffered bytes of all partitions; above it the largest buffer is flushed.",
    )
    flush_s_max: float = Field(
        30.0, gt=0, description="Age of a partition's oldest buffered row that closes a file, seconds."
    )


PROFILES: Mapping[str, Mapping[str, float]] = {
    "throughput": {},
    "latency": {"batch_wait_ms": 0, "transaction_wait_ms": 0, "linger_ms": 0, "flush_s_max": 5.0},
}
"""What a profile makes of the defaults of `StreamSettings`; what is set by name wins."""


class GateSettings(BaseModel):
    """What a forecast is measured by before it is published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    champion_tolerance: float = Field(
        0.02,
        ge=0,
        description="Share by which a model may be worse than the one in use, on the same origins.",
    )
    bias_max: float = Field(
        0.3,
        gt=0,
        description="Share by which a location's forecasts may be off in sum, if the naive's were less.",
    )
    coverage_min: float = Field(
        0.75, ge=0, le=1, description="Share of the days that the range from q05 to q95 has to hold."
    )


class CheckSettings(BaseModel):
    """What a sealed day is measured by before anything is learned from it, against the same weekday before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_min: float = Field(0.5, ge=0, description="Rows of daily sums ÷ the usual number, at least.")
    rows_max: float = Field(2.5, gt=1, description="Rows of daily sums ÷ the usual number, at most.")
    missing_locations_max: float = Field(
        0.1, ge=0, le=1, description="Share of the locations that usually sell and did not, at most."
    )
    refused_max: float = Field(0.1, ge=0, le=1, description="Share of the day's records refused, at most.")
    unpriced_max: float = Field(
        0.2, ge=0, le=1, description="Share of rows without a price beyond the usual share, at most."
    )
    price_jumps_max: float = Field(
        0.2, ge=0, le=1, description="Share of products whose price jumped, at most."
    )
    price_factor: float = Field(3.0, gt=1, description="Multiple, or its inverse, from which a price jumped.")
    late_noted: float = Field(0.5, ge=0, le=1, description="Share of late sales from which it is noted.")
    late_days: int = Field(2, ge=0, description="Days after its own on which a sale is late.")
    drift_noted: float = Field(
        0.3, ge=0, le=1, description="Share sold in other departments than usual from which it is noted."
    )


class FlowSettings(BaseModel):
    """When the daily flow runs and what it makes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: str = Field("30 4 * * *", description="Schedule of the daily flow.")
    time_zone: str = Field("UTC", description="IANA time zone of the schedule.")
    horizon_days: int = Field(28, ge=1, le=366, description="Days forecast ahead.")
    backtest_origins: int = Field(2, ge=1, description="Rolling origins of the backtest.")
    training_rows_max: int = Field(
        1_500_000, ge=1_000, description="Rows sampled for one fit; bounds its memory."
    )
    learner: Literal["lightgbm", "hist_gradient_boosting"] = Field(
        "lightgbm", description="Library that grows the trees: LightGBM, or scikit-learn's own."
    )
    seal_cron: str = Field(
        "10 * * * *",
        description="Schedule of the seal flow, which starts the daily flow when a day is whole.",
    )
    runner: Literal["threads", "processes", "dask"] = Field(
        "threads",
        description="Where fits run: in the run's own process, in further ones, or on Dask workers.",
    )
    workers: int = Field(1, ge=1, le=256, description="Fits at once; each holds its own training rows.")
    dask_address: str = Field(
        "",
        description="Scheduler of a Dask cluster, such as tcp://10.0.0.5:8786; empty makes one on this machine.",
    )
    catch_up_days: int = Field(
        7, ge=0, le=100, description="Missed days that the daily flow forecasts from after the fact, at most."
    )
    gate: GateSettings = GateSettings()
    checks: CheckSettings = CheckSettings()


class Settings(BaseSettings):
    """All settings of one Headrace process."""

    model_config = SettingsConfigDict(
        env_prefix=f"{PREFIX}_",
        env_file=".env",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    home: Path = Field(Path(".headrace"), description="Folder of everything the one-machine stack keeps.")
    lake: str = Field(
        "", description="Where the lake lies: a folder or s3://bucket/prefix; empty means HOME/lake."
    )
    dataset: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9-]{0,31})?$",
        description="Dataset that join and sink write and everybody reads; empty means the lake itself.",
    )
    broker: str = Field("", description="Kafka bootstrap servers; empty means the embedded broker.")
    registry_url: str = Field("", description="Schema registry; empty means the embedded one.")
    prefect_url: str = Field("", description="Prefect server, without /api; empty means the embedded one.")
    cache: Path = Field(
        Path("~/.cache/headrace"), description="Folder of the servers that are installed once for a user."
    )
    data: Path | None = Field(None, description="Folder of real data for benchmarks and slow tests.")
    http_host: str = Field("127.0.0.1", description="Address that the HTTP service binds to.")
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port on which a job serves its metrics; 0 serves none."
    )
    profile: Literal["throughput", "latency"] = Field(
        "throughput",
        description="What the stream jobs are tuned for; `latency` has other defaults, see Profiles below.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe message logged."
    )
    sales_partitions: int = Field(
        4, ge=1, le=4096, description="Partitions of the sales topics when they are created."
    )
    replication: int = Field(1, ge=1, le=10, description="Replicas of each topic when it is created.")
    # Passwords stand in it.
    kafka: dict[str, str] = Field(
        default_factory=dict, repr=False, description="Kafka properties passed through to every client."
    )
    alert_url: SecretStr = Field(
        SecretStr(""),
        description="Address that is told by a POST when a daily run failed, was refused or held.",
    )
    ports: PortSettings = PortSettings()
    http: HttpSettings = HttpSettings()
    s3: S3Settings = S3Settings()
    ingest: IngestSettings = IngestSettings()
    stream: StreamSettings = StreamSettings()
    flow: FlowSettings = FlowSettings()

    @model_validator(mode="before")
    @classmethod
    def _profiled(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The stream's settings with the defaults of the profile where nothing is set by name."""
        stream = data.get("stream", {})
        if not isinstance(stream, dict):
            return data
        return {**data, "stream": {**PROFILES.get(data.get("profile", ""), {}), **stream}}

    @field_validator("kafka")
    @classmethod
    def _dotted(cls, value: dict[str, str]) -> dict[str, str]:
        return {name.lower().replace("_", "."): text for name, text in value.items()}

    @field_validator("home", "cache")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @property
    def lake_url(self) -> str:
        """The lake's folder or `s3://` URL."""
        return self.lake or str(self.home / "lake")

    @property
    def bootstrap_servers(self) -> str:
        """Kafka's bootstrap servers."""
        return self.broker or f"127.0.0.1:{self.ports.broker}"

    @property
    def registry(self) -> str:
        """URL of the schema registry."""
        return self.registry_url or f"http://127.0.0.1:{self.ports.registry}"

    @property
    def http_url(self) -> str:
        """URL of the HTTP service as this machine reaches it."""
        host = "127.0.0.1" if self.http_host in ("0.0.0.0", "::") else self.http_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.ports.http}"

    @property
    def prefect(self) -> str:
        """URL of the Prefect server."""
        return self.prefect_url or f"http://127.0.0.1:{self.ports.prefect}"


CustomerId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
"""Id of a retailer: lower-case letters, digits, `-` and `_`, at most 64; it stands in keys and paths."""


def load_settings(**overrides: object) -> Settings:
    """Read the settings of this process.

    Args:
        overrides: Fields that win over the environment, for tests and command-line options.

    Raises:
        SettingError: A setting is unknown or has a value that cannot be meant; the text names each.
    """
    wrong = [_no_setting(name) for name in os.environ if _is_unknown(name)]
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingError("; ".join(wrong + [_in_words(item) for item in error.errors()])) from error
    except SettingsError as error:
        text = f"{error}: expected one variable for each field, such as HEADRACE_KAFKA__SASL_MECHANISM=PLAIN"
        raise SettingError("; ".join([*wrong, text])) from None
    if wrong:
        raise SettingError("; ".join(wrong))
    return settings


def _is_unknown(name: str) -> bool:
    prefix, _, rest = name.partition("_")
    return prefix == PREFIX and rest.partition("__")[0].lower() not in Settings.model_fields


def _no_setting(name: str) -> str:
    near = difflib.get_close_matches(name, settings_environment(Settings.model_construct()), 1, 0.8)
    return f"{name} is no setting" + (
        f"; did you mean {near[0]}?" if near else "; docs/settings.md lists them"
    )


def _in_words(item: "ErrorDetails") -> str:
    name = f"{PREFIX}_{'__'.join(str(part) for part in item['loc']).upper()}"
    if item["type"] == "extra_forbidden":
        return _no_setting(name)
    secret = item["loc"][0] == "kafka" or str(item["loc"][-1]).endswith(("_key", "token"))
    return f"{name}: {item['msg'][:1].lower()}{item['msg'][1:]}" + (
        "" if secret else f"; found {item['input']!r}"
    )


def settings_environment(settings: Settings) -> dict[str, str]:
    """The `HEADRACE_*` variables with which another process loads the same settings.

    Secrets stand in it in plain text: give it to a child process, never to a log or a server.
    """
    return dict(_variables(PREFIX, settings))


def _variables(prefix: str, model: BaseModel) -> Iterator[tuple[str, str]]:
    separator = "_" if prefix == PREFIX else "__"
    for name in type(model).model_fields:
        value, variable = getattr(model, name), f"{prefix}{separator}{name.upper()}"
        if isinstance(value, BaseModel):
            yield from _variables(variable, value)
        elif isinstance(value, dict):
            yield from ((f"{variable}__{key.upper().replace('.', '_')}", text) for key, text in value.items())
        elif isinstance(value, SecretStr):
            yield variable, value.get_secret_value()
        elif value is not None:
            yield variable, str(value)
