"""The two made-up retailers: what they sell, where, and how their customers behave.

Guarantee: plain data. All that moves with time stands in `cli.simulate.demand`; places in time are shares of
the history, so that a short simulated history still has its opening, its closing and its new products.
"""

from dataclasses import dataclass
from typing import Literal

WEEKDAYS: dict[str, tuple[float, ...]] = {
    "errands": (0.88, 0.84, 0.90, 1.00, 1.18, 1.38, 0.98),
    "leisure": (0.74, 0.72, 0.80, 0.92, 1.14, 1.46, 1.34),
    "commuters": (1.18, 1.20, 1.18, 1.14, 1.12, 0.74, 0.48),
}
"""Demand by day of the week, Monday first, as multiples of the mean."""


@dataclass(frozen=True, slots=True)
class Department:
    """A group of products that sell alike.

    Attributes:
        id: Name of the department; the finer of the two groups.
        category: The coarser group.
        weekdays: A key of `WEEKDAYS`.
        season: Amplitude of the yearly season, as a share of the mean.
        peak_day: Day of the year of the season's peak.
        elasticity: Power with which demand falls as the price rises.
        by_weight: Sold in kilograms (by quarters) instead of pieces.
    """

    id: str
    category: str
    weekdays: str
    season: float
    peak_day: int
    elasticity: float
    by_weight: bool = False


@dataclass(frozen=True, slots=True)
class Product:
    """A product: its price at the start and its mean demand, units a day in a location of size 1."""

    id: str
    name: str
    department: str
    price: float
    demand: float
    introduced: float | None = None
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """A location; `opened` and `closed` are shares of the history, `rest_days` weekdays without business."""

    id: str
    name: str
    region: str
    kind: str
    time_zone: str
    currency: str
    size: float
    price_level: float = 1.0
    opened: float | None = None
    closed: float | None = None
    rest_days: tuple[int, ...] = ()
    weekdays: str | None = None
    """A key of `WEEKDAYS` that replaces the departments' own."""


@dataclass(frozen=True, slots=True)
class Retailer:
    """A customer of Headrace.

    Attributes:
        customer_id: Its id.
        calendar: Whose holidays it keeps.
        opens_at: First full hour of business, local.
        open_hours: Hours of business a day.
        trend: Growth of demand in a year, as a share.
        promotion_share: Share of products on promotion in a week.
        sites: Its locations.
        departments: Its departments.
        products: Its products.
    """

    customer_id: str
    calendar: Literal["canada", "alps"]
    opens_at: int
    open_hours: int
    trend: float
    promotion_share: float
    sites: tuple[Site, ...]
    departments: tuple[Department, ...]
    products: tuple[Product, ...]


def _products(prefix: str, department: str, rows: str, first: int) -> list[Product]:
    """Read `name | price | demand | introduced-ended` lines; the part after the last bar may be empty."""
    products: list[Product] = []
    for number, line in enumerate(rows.strip().splitlines(), start=first):
        name, price, demand, life = (part.strip() for part in line.split("|"))
        introduced, _, ended = life.partition("-")
        products.append(
            Product(
                f"{prefix}{number:03d}",
                name,
                department,
                float(price),
                float(demand),
                float(introduced) if introduced else None,
                float(ended) if ended else None,
            )
        )
    return products


def _greenfield() -> Retailer:
    shelves = {
        "vegetables": """Carrots | 2.49 | 3.2 |
            Potatoes | 1.89 | 4.1 |
            Tomatoes | 4.29 | 3.0 |
            Asparagus | 7.99 | 0.4 |""",
        "fruit": """Apples "Gala" | 3.49 | 3.8 |
            Bananas | 1.79 | 5.2 |
            Strawberries | 6.49 | 0.9 |
            Blueberries & raspberries | 8.99 | 0.5 | 0.45-""",
        "dairy": """Whole milk 2 l | 4.79 | 7.5 |
            Oat drink 1 l | 3.99 | 2.1 | 0.3-
            Butter 454 g | 6.29 | 3.3 |
            Yogurt plain | 3.69 | 3.9 |
            Cheddar, old | 8.49 | 1.4 |
            Goat's cheese | 9.99 | 0.18 |""",
        "drinks": """Sparkling water | 1.49 | 4.4 |
            Orange juice | 4.99 | 2.6 |
            Iced tea | 2.29 | 2.2 |
            Maple soda | 2.79 | 0.25 | -0.6
            Ginger beer <light> | 2.99 | 0.6 | 0.62-""",
        "frozen": """Ice cream vanilla | 5.99 | 2.4 |
            Ice pops | 4.49 | 1.6 |
            Pizza margherita | 6.99 | 2.2 |
            Peas | 3.29 | 1.1 |
            Salmon fillets | 14.99 | 0.3 |""",
        "sweets": """Chocolate bar | 2.49 | 3.6 |
            Halloween mix | 7.99 | 0.5 |
            Maple cookies | 4.99 | 1.3 |
            Liquorice | 3.19 | 0.15 |""",
        "household": """Dish soap | 3.99 | 0.9 |
            Paper towels | 7.49 | 1.2 |
            Laundry powder | 15.99 | 0.35 |
            Candles | 5.49 | 0.12 |
            Light bulbs | 8.99 | 0.08 |
            Sponges 'XL' | 2.99 | 0.3 | -0.8""",
    }
    departments = (
        Department("vegetables", "fresh", "errands", 0.15, 200, 1.3, by_weight=True),
        Department("fruit", "fresh", "errands", 0.30, 190, 1.5, by_weight=True),
        Department("dairy", "fresh", "errands", 0.05, 350, 1.1),
        Department("drinks", "grocery", "leisure", 0.35, 205, 1.8),
        Department("frozen", "grocery", "leisure", 0.40, 200, 1.9),
        Department("sweets", "grocery", "leisure", 0.20, 345, 1.7),
        Department("household", "other", "errands", 0.05, 100, 1.4),
    )
    products: list[Product] = []
    for department, rows in shelves.items():
        products += _products("GF", department, rows, len(products) + 1)
    sites = (
        Site("TOR-1", "Toronto Bloor", "Ontario", "supermarket", "America/Toronto", "CAD", 1.30),
        Site(
            "TOR-2",
            "Toronto Queen",
            "Ontario",
            "express",
            "America/Toronto",
            "CAD",
            0.55,
            weekdays="commuters",
        ),
        Site("WPG-1", "Winnipeg Forks", "Manitoba", "supermarket", "America/Winnipeg", "CAD", 0.85),
        Site("VAN-1", "Vancouver Main", "British Columbia", "supermarket", "America/Vancouver", "CAD", 1.10),
        Site(
            "VAN-2",
            "Vancouver West",
            "British Columbia",
            "supermarket",
            "America/Vancouver",
            "CAD",
            0.75,
            opened=0.5,
        ),
        Site("OTT-1", "Ottawa Market", "Ontario", "express", "America/Toronto", "CAD", 0.45, closed=0.72),
    )
    return Retailer("greenfield", "canada", 8, 13, 0.06, 0.09, sites, departments, tuple(products))


def _brotzeit() -> Retailer:
    shelves = {
        "bread": """Bauernbrot | 4.20 | 6.5 |
            Roggenmischbrot | 3.90 | 5.0 |
            Dinkelbrot | 5.10 | 2.4 |
            Nussbrot | 5.60 | 0.5 | 0.4-""",
        "rolls": """Semmel | 0.55 | 38.0 |
            Breze | 0.95 | 27.0 |
            Körnersemmel | 0.95 | 11.0 |
            Laugenstange | 1.25 | 6.0 |""",
        "pastry": """Croissant | 1.80 | 9.0 |
            Butterhörnchen | 1.60 | 4.0 | -0.55
            Krapfen | 1.70 | 3.0 |
            Zimtschnecke | 2.30 | 2.2 | 0.2-
            Apfeltasche | 2.10 | 1.6 |""",
        "cakes": """Käsekuchen | 3.60 | 2.0 |
            Zwetschgendatschi | 3.40 | 0.8 |
            Sachertorte | 4.50 | 0.6 |
            Weihnachtsstollen | 12.90 | 0.2 |""",
        "coffee": """Kaffee | 2.60 | 14.0 |
            Cappuccino | 3.40 | 10.0 |
            Eiskaffee | 4.20 | 0.9 |
            Heiße Schokolade | 3.50 | 1.1 |""",
        "snacks": """Leberkässemmel | 3.20 | 4.5 |
            Käsesemmel | 3.00 | 3.0 |
            Suppe des Tages | 5.90 | 0.7 |""",
    }
    departments = (
        Department("bread", "bakery", "errands", 0.08, 20, 0.8),
        Department("rolls", "bakery", "errands", 0.04, 180, 0.7),
        Department("pastry", "bakery", "leisure", 0.10, 30, 1.4),
        Department("cakes", "bakery", "leisure", 0.15, 260, 1.5),
        Department("coffee", "café", "leisure", 0.12, 10, 0.9),
        Department("snacks", "café", "errands", 0.08, 300, 1.2),
    )
    products: list[Product] = []
    for department, rows in shelves.items():
        products += _products("B", department, rows, len(products) + 1)
    shop, cafe = "bakery", "café"
    berlin = "Europe/Berlin"
    sites = (
        Site(
            "muc-hbf", "München Hauptbahnhof", "Bayern", cafe, berlin, "EUR", 1.2, 1.05, weekdays="commuters"
        ),
        Site("muc-schwabing", "München Schwabing", "Bayern", shop, berlin, "EUR", 0.8, 1.05),
        Site("nue-markt", "Nürnberg Hauptmarkt", "Bayern", shop, berlin, "EUR", 0.6, rest_days=(6,)),
        Site("lej-sued", "Leipzig Südvorstadt", "Sachsen", cafe, berlin, "EUR", 0.7),
        Site("drs-neustadt", "Dresden Neustadt", "Sachsen", shop, berlin, "EUR", 0.45, 0.95, rest_days=(6,)),
        Site("inn-altstadt", "Innsbruck Altstadt", "Tirol", cafe, "Europe/Vienna", "EUR", 0.6, 1.05),
        Site("zrh-west", "Zürich West", "Zürich", cafe, "Europe/Zurich", "CHF", 0.5, 1.45, opened=0.55),
    )
    return Retailer("brotzeit", "alps", 6, 12, 0.04, 0.05, sites, departments, tuple(products))


RETAILERS = (_greenfield(), _brotzeit())
"""Both retailers, in the order in which they deliver."""
