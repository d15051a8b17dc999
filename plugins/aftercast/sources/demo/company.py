"""The demo company as it is: components, who calls whom, journeys, prices and traffic. Facts only; nothing here depends on time or chance.

A component is regional (one deployment in `eu`, one in `us`) or global (region `''`). `share` of an edge is the part of the caller's
requests that need the callee, so it is also how much of a callee's failure the caller sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

REGIONS = ("eu", "us")
REGION_WEIGHT = (0.6, 0.4)
TIERS = ("bronze", "silver", "gold")
TIER_WEIGHT = MappingProxyType({"bronze": 0.5, "silver": 0.3, "gold": 0.2})
ENVIRONMENT = "production"
CURRENCY = "EUR"


@dataclass(frozen=True, slots=True)
class Component:
    """A service, store or provider.

    Attributes:
        background: requests per five minutes that belong to no journey, over both regions, on an average bucket.
        error_ratio: share of requests that fail on an ordinary day.
        latency_ms: 95th percentile on an ordinary bucket.
        saturation: how full its tightest pool is at average load; None when it has no such gauge.
        deploys: relative frequency of its releases.
    """

    name: str
    kind: str
    regional: bool
    background: float
    error_ratio: float
    latency_ms: float
    saturation: float | None
    deploys: float

    @property
    def regions(self) -> tuple[str, ...]:
        return REGIONS if self.regional else ("",)


COMPONENTS: tuple[Component, ...] = (
    Component("gateway", "service", True, 1800, 0.0022, 210, None, 1.2),
    Component("catalog", "service", True, 1200, 0.0018, 140, 0.44, 2.5),
    Component("pricing", "service", True, 900, 0.0015, 60, None, 2.0),
    Component("checkout", "service", True, 420, 0.0030, 320, 0.38, 3.0),
    Component("payments", "service", True, 300, 0.0040, 410, 0.40, 2.0),
    Component("accounts", "service", True, 600, 0.0020, 120, 0.36, 1.6),
    Component("subscriptions", "service", False, 160, 0.0030, 260, None, 1.4),
    Component("wallet", "service", False, 380, 0.0025, 180, 0.42, 1.8),
    Component("bets", "service", False, 700, 0.0020, 95, 0.45, 2.0),
    Component("public-api", "service", False, 800, 0.0035, 230, 0.35, 1.3),
    Component("metering", "service", False, 260, 0.0015, 340, None, 0.8),
    Component("backoffice", "service", False, 90, 0.0060, 520, None, 1.5),
    Component("orders-db", "store", True, 900, 0.0004, 14, 0.41, 0.0),
    Component("accounts-db", "store", False, 900, 0.0004, 11, 0.37, 0.0),
    Component("ledger-db", "store", False, 900, 0.0004, 18, 0.46, 0.0),
    Component("cardway", "provider", False, 120, 0.0060, 620, None, 0.0),
    Component("smsgate", "provider", False, 60, 0.0080, 900, None, 0.0),
    Component("mailbird", "provider", False, 60, 0.0050, 450, None, 0.0),
)
INDEX = MappingProxyType({component.name: position for position, component in enumerate(COMPONENTS)})

EDGES: MappingProxyType[tuple[str, str], float] = MappingProxyType(
    {
        ("gateway", "catalog"): 0.42,
        ("gateway", "checkout"): 0.16,
        ("gateway", "accounts"): 0.14,
        ("gateway", "subscriptions"): 0.05,
        ("gateway", "wallet"): 0.10,
        ("gateway", "bets"): 0.16,
        ("catalog", "pricing"): 0.55,
        ("checkout", "pricing"): 0.80,
        ("checkout", "payments"): 0.55,
        ("checkout", "accounts"): 0.25,
        ("checkout", "orders-db"): 0.85,
        ("payments", "cardway"): 0.75,
        ("payments", "ledger-db"): 0.60,
        ("accounts", "accounts-db"): 0.80,
        ("accounts", "smsgate"): 0.20,
        ("subscriptions", "payments"): 0.50,
        ("subscriptions", "accounts"): 0.35,
        ("subscriptions", "mailbird"): 0.25,
        ("wallet", "payments"): 0.45,
        ("wallet", "accounts"): 0.15,
        ("wallet", "ledger-db"): 0.70,
        ("bets", "wallet"): 0.50,
        ("bets", "ledger-db"): 0.35,
        ("public-api", "accounts"): 0.30,
        ("public-api", "metering"): 0.30,
        ("metering", "ledger-db"): 0.65,
        ("metering", "mailbird"): 0.05,
        ("backoffice", "orders-db"): 0.30,
        ("backoffice", "accounts-db"): 0.30,
    }
)


@dataclass(frozen=True, slots=True)
class Reach:
    """How a failure of one component shows at another: what part of it, after how many calls."""

    share: float
    hops: int


def _reach() -> dict[str, dict[str, Reach]]:
    reach: dict[str, dict[str, Reach]] = {}
    for origin in INDEX:
        seen = {origin: Reach(1.0, 0)}
        border = [origin]
        while border:
            callee = border.pop(0)
            for (caller, called), share in EDGES.items():
                through = Reach(seen[callee].share * share, seen[callee].hops + 1)
                if called == callee and (caller not in seen or through.share > seen[caller].share):
                    seen[caller] = through
                    border.append(caller)
        reach[origin] = seen
    return reach


REACH = MappingProxyType(_reach())
"""REACH[origin][component]: the strongest path over which a failure of `origin` reaches `component`."""


def callers(name: str) -> tuple[str, ...]:
    """Direct callers of a component, those that need it most first."""
    found = sorted(((share, caller) for (caller, callee), share in EDGES.items() if callee == name), reverse=True)
    return tuple(caller for _, caller in found)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a journey.

    Attributes:
        needs: part of the step's attempts that cannot succeed without the component.
        success: share of attempts that succeed on an ordinary day.
        entry: attempts at this step per success at the step before (1 for the first).
    """

    name: str
    needs: MappingProxyType[str, float]
    success: float
    entry: float


@dataclass(frozen=True, slots=True)
class Segment:
    """Customers counted together.

    Attributes:
        weight: part of the journey's demand.
        price: revenue of one success of the last step, in euros.
    """

    region: str
    tier: str
    plan: str
    weight: float
    price: float

    @property
    def text(self) -> str:
        parts = (("region", self.region), ("tier", self.tier), ("plan", self.plan))
        return ",".join(f"{key}={value}" for key, value in parts if value) or "all"


@dataclass(frozen=True, slots=True)
class Journey:
    """A journey; the last step earns.

    Attributes:
        demand: attempts of the first step per day.
        weekend: demand on Saturday and Sunday relative to a weekday.
        promoted: how strongly promotions move it.
        price_spread: coefficient of variation of one success's revenue.
    """

    name: str
    steps: tuple[Step, ...]
    segments: tuple[Segment, ...]
    demand: float
    weekend: float
    promoted: float
    price_spread: float


def _step(name: str, success: float, entry: float, **needs: float) -> Step:
    return Step(name, MappingProxyType({key.replace("_", "-"): value for key, value in needs.items()}), success, entry)


def _segments(regions: dict[str, float], tiers: dict[str, tuple[float, float]], *, as_plan: bool = False) -> tuple[Segment, ...]:
    return tuple(
        Segment(region, "" if as_plan else tier, tier if as_plan else "", weight * share, price)
        for region, weight in regions.items()
        for tier, (share, price) in tiers.items()
    )


JOURNEYS: tuple[Journey, ...] = (
    Journey(
        "shop",
        (
            _step("browse", 0.985, 1.0, gateway=1.0, catalog=0.9, pricing=0.5),
            _step("cart", 0.975, 0.115, gateway=1.0, checkout=0.9, pricing=0.9),
            _step("checkout", 0.965, 0.54, gateway=1.0, checkout=1.0, payments=0.95, cardway=0.8, accounts=0.4, orders_db=1.0),
        ),
        _segments({"eu": 0.6, "us": 0.4}, {"bronze": (0.5, 18.0), "silver": (0.3, 29.0), "gold": (0.2, 46.0)}),
        demand=126_000,
        weekend=1.12,
        promoted=1.0,
        price_spread=0.7,
    ),
    Journey(
        "subscription",
        (
            _step("sign_up", 0.96, 1.0, gateway=1.0, accounts=1.0, accounts_db=0.9, smsgate=0.85),
            _step("activation", 0.95, 0.62, accounts=0.9, mailbird=0.7),
            _step("subscription", 0.94, 0.45, subscriptions=1.0, payments=0.95, cardway=0.85),
        ),
        _segments({"eu": 0.65, "us": 0.35}, {"": (1.0, 24.0)}),
        demand=8_200,
        weekend=0.9,
        promoted=0.5,
        price_spread=0.4,
    ),
    Journey(
        "wallet",
        (
            _step("deposit", 0.965, 1.0, gateway=1.0, wallet=1.0, payments=0.9, cardway=0.7, ledger_db=0.9),
            _step("bet", 0.985, 2.2, gateway=0.8, bets=1.0, wallet=0.6, ledger_db=0.5),
            _step("cash_out", 0.965, 0.4, wallet=1.0, payments=0.9, ledger_db=0.9),
        ),
        _segments({"eu": 1.0}, {"bronze": (0.5, 3.8), "silver": (0.3, 6.4), "gold": (0.2, 11.0)}),
        demand=12_500,
        weekend=1.4,
        promoted=0.15,
        price_spread=0.9,
    ),
    Journey(
        "api_billing",
        (
            _step("call", 0.99, 1.0, public_api=1.0, accounts=0.3),
            _step("bill", 0.994, 0.09, metering=1.0, ledger_db=0.8),
        ),
        _segments({"eu": 0.55, "us": 0.45}, {"starter": (0.6, 2.1), "scale": (0.4, 7.2)}, as_plan=True),
        demand=118_000,
        weekend=0.5,
        promoted=0.0,
        price_spread=0.5,
    ),
)
