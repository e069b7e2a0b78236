"""Answers written by hand over pages, interfaces and print-outs; chance only picks the figures."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from statistics import fmean, stdev
from typing import Final

from agents._kit.grounding.check import Evidence
from domain.agent import Citation
from tests.unit.agents.grounding.mutations import Case

MONTHS: Final = (
    "January February March April May June July August September October November December"
)
TOWNS: Final = ("Harrowby", "Lindmere", "Castleford Bay", "Nordhaven", "Este Alto", "Port Ellery")


def _cite(*pages: tuple[str, str, str]) -> tuple[list[Citation], dict[int, str], str]:
    """Return citations, pages and the search output of (title, url, text)."""
    citations = [
        Citation(number=n, title=title, source=url, snippet=text[:160])
        for n, (title, url, text) in enumerate(pages, 1)
    ]
    listed = "\n\n".join(
        f"[{c['number']}] {c['title']} — {c['source']}\n{c['snippet']}" for c in citations
    )
    return citations, {n: text for n, (_, _, text) in enumerate(pages, 1)}, listed


def population(r: random.Random) -> Case:
    town, people, area = r.choice(TOWNS), r.randrange(120_000, 990_000), r.uniform(40, 400)
    year = r.randrange(2011, 2024)
    share = r.uniform(11, 48)
    one = (
        f"{town} is a port city. As of the census of {year}, the population was {people:,}, spread over "
        f"{area:.2f} km². The harbour authority employs one person in nine, and the old quarter has been "
        f"a protected site since 1987. About {share:.1f} percent of residents commute by ferry."
    )
    two = (
        f"Visitors to {town} often remark that the ferries run on time, that the fish market opens before "
        "dawn, and that nobody seems to be in a hurry. The council plans a second pier."
    )
    url = f"https://gazetteer.example.org/places/{town.lower().replace(' ', '-')}"
    citations, pages, listed = _cite(
        (f"{town} — Gazetteer", url, one), (f"A weekend in {town}", f"{url}/travel", two)
    )
    millions = f"about ⟦{people / 1e6:.2f}⟧ million people, or " if people > 500_000 else ""
    answer = (
        f"{town} had {millions}⟦{people:,}⟧ inhabitants in ⟦{year}⟧ [1], on an area of ⟦{area:.1f}⟧ km² [1]. "
        f"Roughly ⟦{share:.0f}⟧ % of them commute by ferry [1].\n\n"
        'The travel page says that "⟪the ferries run on time, that the fish market opens before dawn⟫" [2].\n\n'
        f"Sources:\n[1] {town} — Gazetteer — {url}\n[2] A weekend in {town} — {url}/travel"
    )
    return Case(
        name="",
        answer=answer,
        evidence=Evidence(
            outputs=[listed], given=f"How big is {town}?", citations=citations, pages=pages
        ),
    )


def weather(r: random.Random) -> Case:
    low, high, rain = r.uniform(-19, -3.2), r.uniform(4, 31), r.uniform(3, 60)
    hour, humidity = r.randrange(10, 24), r.uniform(0.31, 0.97)
    body = {
        "station": "EX-0417",
        "observed_at": f"2024-{r.randrange(1, 13):02}-{r.randrange(13, 28)}T{hour}:45:00Z",
        "temperature": {"min": round(low, 1), "max": round(high, 1), "unit": "C"},
        "precipitation_mm": round(rain, 2),
        "humidity": round(humidity, 3),
        "source": "https:\\/\\/api.weather.example.com\\/v2\\/stations\\/EX-0417",
    }
    text = f"HTTP 200, application/json\n{json.dumps(body).replace(chr(92) * 2, chr(92))}"
    at = str(body["observed_at"])
    month = MONTHS.split()[int(at[5:7]) - 1]
    answer = (
        f"At ⟦{hour}:45⟧ UTC on ⟦{int(at[8:10])} {month} 2024⟧ station `EX-0417` reported:\n\n"
        f"- lowest temperature: ⟦−{abs(low):.1f}⟧ °C\n- highest: ⟦{high:.1f}⟧ °C\n"
        f"- rain: ⟦{rain:.1f}⟧ mm\n- humidity: ⟦{humidity * 100:.0f}⟧ %\n\n"
        "Read from https://api.weather.example.com/v2/stations/EX-0417."
    )
    return Case(
        name="",
        agent="coder",
        answer=answer,
        evidence=Evidence(outputs=[text], given="Fetch the weather"),
    )


def described(r: random.Random) -> Case:
    values = [r.randrange(40, 900) for _ in range(60)]
    rows = r.randrange(1200, 9800)
    text = (
        f"orders.csv: CSV with commas, {rows:,} rows, 4 columns\nRead it with: pandas.read_csv('orders.csv')\n"
        "Columns, with type, missing values and summary:\n"
        f'"amount": number, {values[0]} missing; min {min(values)}, mean {fmean(values):.10g}, '
        f"median {sorted(values)[30]}, max {max(values)}, std {stdev(values):.10g}; 57 distinct\n"
        "\"region\": text, 0 missing; 3 distinct; values: 'north' (611), 'south' (402), 'west' (187)\n"
        "First 3 rows:\n17.5 | north | 2024-01-05 | 3"
    )
    answer = (
        f"`orders.csv` holds ⟦{rows:,}⟧ rows. The mean amount is **⟦{fmean(values):.2f}⟧** "
        f"(median ⟦{sorted(values)[30]}⟧, standard deviation ⟦{stdev(values):.1f}⟧), between ⟦{min(values)}⟧ "
        f"and ⟦{max(values)}⟧. ⟦{values[0]}⟧ amounts are missing, so these rows were left out.\n\n"
        "| region | orders |\n|---|---:|\n| north | ⟦611⟧ |\n| south | ⟦402⟧ |\n| west | ⟦187⟧ |\n\n"
        "All 3 regions are shown."
    )
    return Case(
        name="",
        agent="analyst",
        answer=answer,
        evidence=Evidence(outputs=[text], given="Look at orders.csv"),
    )


def quarters(r: random.Random) -> Case:
    sales = [r.uniform(1.1e6, 9.9e6) for _ in range(4)]
    change = (sales[3] / sales[0] - 1) * 100
    code = f"sales = {sales}\nprint('total', sum(sales))"
    output = (
        "\n".join(f"Q{n} {value:.2f}" for n, value in enumerate(sales, 1))
        + f"\ntotal: {sum(sales):.2f}\nchange Q1-Q4 (%): {change:.4f}\n"
    )
    verb = "rose" if change > 0 else "fell"
    rows = "\n".join(f"| Q{n} | $⟦{value:,.0f}⟧ |" for n, value in enumerate(sales, 1))
    answer = (
        f"Sales came to $⟦{sum(sales) / 1e6:.2f}⟧ million over the 4 quarters. They {verb} by "
        f"⟦{abs(change):.1f}⟧% from Q1 to Q4.\n\n| Quarter | Sales |\n|:---|---:|\n{rows}\n\n"
        f"The largest quarter brought $⟦{max(sales) / 1e6:.1f}⟧M."
    )
    evidence = Evidence(outputs=[output], programs=[code], given="Sum up the sales by quarter")
    return Case(name="", agent="analyst", answer=answer, evidence=evidence)


def european(r: random.Random) -> Case:
    turnover, staff, share = r.uniform(1100, 9900), r.randrange(1100, 9900), r.uniform(3, 40)
    day, month, year = r.randrange(13, 28), r.randrange(1, 13), r.randrange(2015, 2024)
    dotted = f"{turnover:,.1f}".replace(",", "_").replace(".", ",").replace("_", ".")
    page = (
        f"Die Nordwerk AG meldete am {day:02}.{month:02}.{year} einen Umsatz von {dotted} Mio. Euro. "
        f"Das Unternehmen beschäftigt {staff // 1000}.{staff % 1000:03} Menschen. "
        f"Der Exportanteil lag bei {share:.1f} Prozent.".replace(
            f"{share:.1f}", f"{share:.1f}".replace(".", ",")
        )
        + " „Wir haben in einem schwierigen Jahr viel gelernt und wenig verloren“, sagte die Vorständin."
    )
    url = "https://www.nordwerk.example/presse/bericht"
    citations, pages, listed = _cite(("Nordwerk Jahresbericht", url, page))
    answer = (
        f"According to its report of ⟦{day} {MONTHS.split()[month - 1]} {year}⟧, Nordwerk turned over "
        f"€⟦{turnover:,.1f}⟧ million [1] and employs ⟦{staff:,}⟧ people [1]; exports made up ⟦{share:.1f}⟧ % [1]. "
        "In its own words: „⟪Wir haben in einem schwierigen Jahr viel gelernt und wenig verloren⟫“ [1].\n\n"
        f"Source: <{url}>"
    )
    return Case(
        name="",
        answer=answer,
        evidence=Evidence(outputs=[listed, page], citations=citations, pages=pages),
    )


def report(r: random.Random) -> Case:
    loss, margin, sites = r.uniform(2, 60), r.uniform(4, 30), r.randrange(11, 95)
    page = (
        "Letter to shareholders. The year under review was one of consolidation rather than growth. "
        f"Operating margin narrowed to {margin:.1f}%, and we recorded a net loss of ${loss:.2f} million. "
        f"We closed {sites} sites—most of them leased—and returned the rest to profit. "
        "“Our people carried the burden of this programme with patience and with skill,” the chair wrote. "
        "Looking ahead, the board expects demand to recover slowly.\n\nWe do not expect to pay a dividend."
    )
    url = "https://investors.brackwater.example/letters/annual?year=2023"
    citations, pages, listed = _cite(("Brackwater letter", url, page))
    answer = (
        f"Brackwater lost $⟦{loss:.1f}⟧ million; its operating margin was ⟦{margin:.1f}⟧ percent [1].\n\n"
        "> ⟪Our people carried the burden of this programme with patience and with skill⟫ [1]\n\n"
        f"It closed ⟦{sites}⟧ sites. The board calls the year “⟪one of consolidation rather than growth⟫” [1], "
        f'and says it does "⟪not expect to pay a dividend⟫." [1]\n\nSource: [the letter]({url})'
    )
    return Case(
        name="",
        answer=answer,
        evidence=Evidence(outputs=[listed, page], citations=citations, pages=pages),
    )


def follow_up(r: random.Random) -> Case:
    price, units = r.uniform(12, 95), r.randrange(310, 4800)
    revenue = price * units
    results = (
        f'<result agent="researcher" round="1" status="completed">\nThe list price is €{price:.2f} [1].\n</result>\n'
        f'<result agent="analyst" round="1" status="completed">\nUnits sold: {units}\n</result>'
    )
    answer = (
        f"At a price of €⟦{price:.2f}⟧ [1] and ⟦{units:,}⟧ units, revenue is **€⟦{revenue:,.2f}⟧**, "
        f"or roughly €⟦{revenue / 1000:.1f}⟧ thousand."
    )
    evidence = Evidence(
        outputs=[f"revenue = {revenue}\n"],
        programs=[f"price = {price:.2f}\nunits = {units}\nprint('revenue =', price * units)"],
        given="What revenue does that make?",
        results=results,
    )
    return Case(name="", agent="analyst", answer=answer, evidence=evidence)


def timing(r: random.Random) -> Case:
    slow, fast = r.uniform(1.2, 9.8), r.uniform(0.011, 0.19)
    size = r.choice((25_000, 40_000, 150_000))
    code = (
        f"import random, time\nrandom.seed(42)\nvalues = [random.random() for _ in range({size})]\n"
        "def sort_slow(values):\n    return sorted(values)\n"
    )
    output = f"items: {size}\nbefore: {slow:.6f} s\nafter: {fast:.6f} s\nspeed-up: {slow / fast:.3f}\nok\n"
    answer = (
        "The new version:\n\n```python\nimport random, time\nrandom.seed(42)\n"
        f"values = [random.random() for _ in range({size})]\n```\n\nRunning it printed:\n\n"
        f"```\n{output}```\n\nWith ⟦{size:,}⟧ items it takes ⟦{fast:.3f}⟧ s instead of ⟦{slow:.2f}⟧ s: "
        f"⟦{slow / fast:.1f}⟧x faster. Run it with Python 3 as `bench_v2.py`; the input is UTF-8."
    )
    evidence = Evidence(
        outputs=[output], programs=[code], given="Make the sort faster and measure it"
    )
    return Case(name="", agent="coder", answer=answer, evidence=evidence)


def releases(r: random.Random) -> Case:
    minor, patch, issue = r.randrange(11, 40), r.randrange(3, 19), r.randrange(1100, 9900)
    day = r.randrange(13, 29)
    page = (
        f"## 4.{minor}.{patch} (2024-06-{day})\n\n- The pool no longer hands out a connection twice (#{issue}).\n"
        f"- Timeouts are given in seconds; the default is {minor + 30} seconds.\n\n"
        f"## 4.{minor}.{patch - 1} (2024-05-02)\n\n- Documentation: the tutorial [was rewritten](https://poolkit.example/tutorial)."
    )
    url = "https://poolkit.example/changelog.html"
    citations, pages, listed = _cite(("Changelog — poolkit", url, page))
    answer = (
        f"The newest release is ⟦4.{minor}.{patch}⟧, of June ⟦{day}⟧, 2024 [1]. Since then, "
        "“⟪the pool no longer hands out a connection twice⟫” [1] (issue #"
        f"{issue}). Its default timeout is ⟦{minor + 30}⟧ seconds [1].\n\n"
        f"1. Changelog: {url}\n2. Tutorial: https://poolkit.example/tutorial"
    )
    evidence = Evidence(
        outputs=[listed, page], given="What is new in poolkit?", citations=citations, pages=pages
    )
    return Case(name="", answer=answer, evidence=evidence)


def survey(r: random.Random) -> Case:
    asked = r.randrange(1100, 4800)
    yes, no = r.uniform(0.35, 0.6), r.uniform(0.1, 0.3)
    output = json.dumps(
        {"respondents": asked, "yes": round(yes, 4), "no": round(no, 4), "margin": 0.031}
    )
    answer = (
        f"Of ⟦{asked:,}⟧ respondents, ⟦{yes * 100:.1f}⟧ % said yes and ⟦{no * 100:.1f}⟧ % said no; the margin of "
        "error is ±⟦3.1⟧ percentage points."
    )
    return Case(
        name="",
        agent="analyst",
        answer=answer,
        evidence=Evidence(outputs=[output], given="Evaluate the survey"),
    )


def science(r: random.Random) -> Case:
    mantissa, power, ratio = r.uniform(1.1, 9.8), r.randrange(5, 24), r.uniform(0.0002, 0.0098)
    output = f"rate = {mantissa:.5f}e+{power:02}\nratio = {ratio:.8f}\nchi2 = {mantissa * 7:.4f}\nconverged after 183 iterations\n"
    answer = (
        f"The rate is ⟦{mantissa:.2f}⟧ × 10^{power} per second, the ratio ⟦{ratio:.5f}⟧ "
        f"(χ² = ⟦{mantissa * 7:.1f}⟧). The fit took ⟦183⟧ iterations to converge."
    )
    return Case(
        name="",
        agent="analyst",
        answer=answer,
        evidence=Evidence(outputs=[output], given="Fit the decay"),
    )


def timetable(r: random.Random) -> Case:
    first, last, price = r.randrange(13, 60), r.randrange(13, 60), r.uniform(11, 60)
    page = (
        f"Boats leave the north quay daily except on Sundays. First boat 05:{first}, last boat 22:{last}. "
        f"A return ticket costs € {price:.2f}; children under seven travel free of charge. "
        "In rough seas the captain decides, and the captain's decision is final."
    )
    url = "http://ferries.example.net:8080/times/"
    citations, pages, listed = _cite(("Ferry times", url, page))
    answer = (
        f"The first boat goes at ⟦5:{first}⟧ and the last at ⟦10:{last} pm⟧ [1]; a return costs €⟦{price:.2f}⟧ [1]. "
        "Note that ‘⟪In rough seas the captain decides, and the captain's decision is final⟫’ [1].\n\n"
        "See http://ferries.example.net:8080/times."
    )
    return Case(
        name="",
        answer=answer,
        evidence=Evidence(outputs=[listed, page], citations=citations, pages=pages),
    )


def league(r: random.Random) -> Case:
    points = sorted((r.randrange(21, 99) for _ in range(5)), reverse=True)
    teams = ("Rovers", "Athletic", "Wanderers", "United", "Albion")
    text = "team,points,for,against\n" + "\n".join(
        f"{team},{value},{value + 13},{value - 11}"
        for team, value in zip(teams, points, strict=True)
    )
    rows = "\n".join(
        f"| {n} | {team} | ⟦{value}⟧ | ⟦{value + 13}⟧:{value - 11} |"
        for n, (team, value) in enumerate(zip(teams, points, strict=True), 1)
    )
    answer = (
        f"{teams[0]} lead with ⟦{points[0]}⟧ points.\n\n| # | Team | Points | Goals |\n|---|---|---|---|\n{rows}\n\n"
        f"The table has 5 teams; {teams[4]} are last on ⟦{points[4]}⟧."
    )
    return Case(
        name="",
        agent="analyst",
        answer=answer,
        evidence=Evidence(outputs=[text], given="Show the league table"),
    )


def response(r: random.Random) -> Case:
    order, total, items = r.randrange(10_000, 99_999), r.uniform(110, 990), r.randrange(3, 9)
    text = (
        "HTTP 201, application/json\n"
        f'{{"order": {order}, "total": "{total:.2f}", "currency": "EUR", "lines": {items}, '
        f'"etag": "9f3c2a77b1d04e55", "href": "https://shop.example.com/orders/{order}"}}'
    )
    answer = (
        f"The service created order ⟦{order}⟧ over ⟦{total:.2f}⟧ EUR (etag `9f3c2a77b1d04e55`). "
        f"It is at https://shop.example.com/orders/{order}."
    )
    return Case(
        name="",
        agent="coder",
        answer=answer,
        evidence=Evidence(outputs=[text], given="Create the order"),
    )


def history(r: random.Random) -> Case:
    built, height, dead = r.randrange(1650, 1899), r.uniform(31, 140), r.randrange(31, 240)
    page = (
        f"The lighthouse at Skarn Point, begun in {built} and finished {r.choice(('three', 'four'))} years later, "
        f"stands {height:.1f} metres above the rocks. In the storm of 14 November {built + 43}, {dead} sailors drowned "
        "within sight of the lamp. The keeper wrote in his log that the sea had taken the stairs and the dog but "
        "had left the oil. A new lamp was fitted the following spring [4], and it burns to this day."
    )
    other = "The museum of navigation keeps the original lens; admission is free on the first Monday of a month."
    citations, pages, listed = _cite(
        ("Skarn Point light", "https://lights.example.org/skarn_(north)", page),
        ("Museum of navigation", "https://museum.example.org/", other),
    )
    answer = (
        f"**Skarn Point** was begun in ⟦{built}⟧ and is ⟦{height:.0f}⟧ m high [1]. On ⟦{built + 43}-11-14⟧ a storm cost "
        f"⟦{dead}⟧ lives [1]. The keeper noted that “⟪the sea had taken the stairs and the dog but had left the oil⟫” [1]; "
        "“⟪a new lamp was fitted the following spring, and it burns to this day⟫” [1]. Its lens is in a museum [2].\n\n"
        "- https://lights.example.org/skarn_(north)\n- https://museum.example.org"
    )
    return Case(
        name="",
        answer=answer,
        evidence=Evidence(outputs=[listed], citations=citations, pages=pages),
    )


def budget(r: random.Random) -> Case:
    planned, spent = r.uniform(2.1e9, 8.9e9), r.uniform(1.1e9, 9.9e9)
    gap = spent - planned
    output = f"planned {planned:.0f}\nspent {spent:.0f}\ndifference {gap:.0f}\nshare {spent / planned:.5f}\n"
    word = "more" if gap > 0 else "less"
    answer = (
        f"The ministry spent ⟦{spent / 1e9:.2f}⟧ billion, ⟦{abs(gap) / 1e6:,.0f}⟧ million {word} than the planned "
        f"⟦{planned / 1e9:.2f}⟧ billion; that is ⟦{spent / planned * 100:.1f}⟧ % of the plan."
    )
    return Case(
        name="",
        agent="analyst",
        answer=answer,
        evidence=Evidence(outputs=[output], given="Compare both"),
    )


def interview(r: random.Random) -> Case:
    age, share = r.randrange(31, 88), r.randrange(21, 96)
    page = (
        f"Mira Oduya, {age}, has repaired clocks for most of her life. “People bring me a clock and tell me about "
        "their grandmother,” she says. “I listen first, because the clock can wait.” Her workshop, she adds, "
        f"earns {share} per cent of its income from two churches. She has never owned a watch, and when asked why, "
        "she laughs and points at the wall."
    )
    url = "https://dailypost.example.com/2023/07/clocks"
    citations, pages, listed = _cite(("The clock can wait", url, page))
    answer = (
        f"Oduya is ⟦{age}⟧ [1]. Asked about her work, she says: «⟪People bring me a clock and tell me about their "
        f"grandmother⟫» [1]. ⟦{share}⟧ % of the income comes from two churches [1]. The paper describes how "
        "“⟪She has never owned a watch, and when asked why, she laughs […] at the wall⟫” [1].\n\n"
        f"[1]: {url}"
    ).replace("laughs […] at", "laughs … at")
    return Case(
        name="",
        answer=answer,
        evidence=Evidence(outputs=[listed, page], citations=citations, pages=pages),
    )


WRITTEN: Final[tuple[Callable[[random.Random], Case], ...]] = (
    population, weather, described, quarters, european, report, follow_up, timing, releases, survey,
    science, timetable, league, response, history, budget, interview,
)  # fmt: skip
