"""A second set of grounded answers, of other subjects and in another style than the first.

It was written after the rules: what the rules get wrong here is measured, not mended case by case.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Final

from agents._kit.grounding.check import Evidence
from domain.agent import Citation
from tests.unit.agents.grounding.mutations import Case

NAMES: Final = ("Ferrand", "Okafor", "Lindqvist", "Marchetti", "Tanaka", "Eze")
VARIANTS: Final = 8


def _read(*pages: tuple[str, str, str]) -> tuple[list[Citation], dict[int, str]]:
    citations = [
        Citation(number=n, title=title, source=source, snippet=text[:200])
        for n, (title, source, text) in enumerate(pages, 1)
    ]
    return citations, {n: text for n, (_, _, text) in enumerate(pages, 1)}


def trial(r: random.Random) -> Case:
    n, a, b, p = r.randrange(210, 990), r.uniform(12, 30), r.uniform(31, 60), r.uniform(0.003, 0.04)
    text = (
        f"METHODS. We enrolled {n} adults at {r.randrange(13, 40)} centres between 3 March 2019 and 17 October 2021. "
        f"RESULTS. Relapse occurred in {a:.1f}% of the treated group versus {b:.1f}% of controls (P = {p:.3f}; "
        f"hazard ratio, {a / b:.2f}). Nausea was the commonest adverse event. CONCLUSIONS. Treatment lowered the "
        "rate of relapse, but the duration of benefit beyond one year remains uncertain."
    )
    citations, pages = _read(
        ("Randomised trial of X", "https://doi.example.org/10.5555/jx.2022.118", text)
    )
    answer = (
        f"**Short answer:** yes, in this trial of ⟦{n}⟧ adults. Relapses: ⟦{a:.0f}⟧% vs. ⟦{b:.0f}⟧% "
        f"(HR ⟦{a / b:.2f}⟧, p=⟦{p:.3f}⟧) [1]. Patients were enrolled from ⟦March 3, 2019⟧ to ⟦October 17, 2021⟧.\n\n"
        'Caveat, in the authors\' words: "⟪the duration of benefit beyond one year remains uncertain⟫" [1].\n\n'
        "Reference: https://doi.example.org/10.5555/jx.2022.118"
    )
    return Case(
        name="",
        answer=answer,
        evidence=Evidence(outputs=[text], given="Does X help?", citations=citations, pages=pages),
    )


def court(r: random.Random) -> Case:
    para, fine, days = r.randrange(31, 88), r.randrange(11, 99) * 5_000, r.choice((14, 21, 28))
    text = (
        f"[{para}] It follows that the defendant cannot rely on the exemption. The purpose of the rule is to protect "
        "those who cannot protect themselves, and no reading of it that defeats this purpose can be right. "
        f"The appeal is dismissed. The defendant shall pay a fine of £{fine:,} within {days} days of this judgment."
    )
    url = f"https://courts.example.uk/judgments/2022/{para}41.html"
    citations, pages = _read((f"{r.choice(NAMES)} v Harbour Board", url, text))
    answer = (
        "The court dismissed the appeal [1].\n\n> ⟪The purpose of the rule is to protect those who cannot protect themselves, and no "
        "reading of it that defeats this purpose can be right.⟫ [1]\n\n"
        f"* Fine: £⟦{fine:,}⟧\n* Due within ⟦{days}⟧ days\n\nJudgment: {url}"
    )
    return Case(
        name="",
        answer=answer,
        evidence=Evidence(
            outputs=[text], given="What did the court decide?", citations=citations, pages=pages
        ),
    )


def logs(r: random.Random) -> Case:
    errors, total, p99 = r.randrange(31, 400), r.randrange(11_000, 88_000), r.uniform(210, 980)
    output = (
        f"lines={total}\nerrors={errors}\nerror_rate={errors / total:.6f}\np50_ms=31.07\np99_ms={p99:.2f}\n"
        "first=2023-11-04T02:17:09Z last=2023-11-05T01:58:41Z\nworst host: cache-07 (61 errors)\n"
    )
    answer = (
        f"I parsed ⟦{total:,}⟧ log lines. ⟦{errors}⟧ of them are errors, which is ⟦{errors / total * 100:.2f}⟧%.\n\n"
        f"1. p50 latency: `⟦31.1⟧ ms`\n2. p99 latency: `⟦{p99:.0f}⟧ ms`\n3. Worst host: cache-07, with ⟦61⟧ errors\n\n"
        "The log runs from ⟦4 Nov 2023⟧, ⟦02:17⟧, to ⟦2023-11-05⟧, ⟦1:58 am⟧ (UTC)."
    )
    evidence = Evidence(
        outputs=[output],
        programs=["import re, sys\nprint('lines=%d' % n)"],
        given="Summarise app.log",
    )
    return Case(name="", agent="coder", answer=answer, evidence=evidence)


def french(r: random.Random) -> Case:
    people, euros, share = r.randrange(1_100_000, 9_900_000), r.uniform(1.2, 8.9), r.uniform(11, 48)
    spaced = f"{people:,}".replace(",", "\u202f")
    text = (
        (
            f"La région compte {spaced} habitants au 1er janvier 2023. Son budget s'élève à {euros:.1f} milliards d'euros, "
            f"dont {share:.1f} % pour les transports. « La priorité reste le train du quotidien, pas la vitesse », "
            f"a déclaré la présidente {r.choice(NAMES)}."
        )
        .replace(f"{euros:.1f}", f"{euros:.1f}".replace(".", ","))
        .replace(f"{share:.1f}", f"{share:.1f}".replace(".", ","))
    )
    citations, pages = _read(
        ("Région — chiffres clés", "https://region.example.fr/chiffres/", text)
    )
    answer = (
        f"The region has ⟦{people / 1e6:.1f}⟧ million inhabitants (⟦{people:,}⟧ on ⟦1 January 2023⟧) and a budget of "
        f"€⟦{euros:.1f}⟧bn, of which ⟦{share:.1f}⟧% goes to transport [1]. Its president: "
        "«⟪La priorité reste le train du quotidien, pas la vitesse⟫» [1]. "
        "More at https://region.example.fr/chiffres."
    )
    return Case(
        name="", answer=answer, evidence=Evidence(outputs=[text], citations=citations, pages=pages)
    )


def recipe(r: random.Random) -> Case:
    grams, minutes, heat = (
        r.randrange(26, 95) * 10,
        r.randrange(23, 58),
        r.choice((165, 175, 185, 215)),
    )
    text = (
        f"Serves four. You need {grams} g flour, 1½ teaspoons of salt, ¾ cup of warm water and 12 olives. Bake at "
        f"{heat} °C for {minutes} minutes, or until the crust sounds hollow when you knock on it. Do not open the oven door "
        "before the bread has risen, or it will sulk."
    )
    citations, pages = _read(
        ("Olive bread", "https://kitchen.example.com/olive-bread?print=1", text)
    )
    answer = (
        f"- Flour: ⟦{grams}⟧ g\n- Salt: 1.5 teaspoons\n- Water: 3/4 cup\n- Olives: ⟦12⟧\n\nBake at ⟦{heat}⟧°C for "
        f"⟦{minutes}⟧ min. “⟪Do not open the oven door before the bread has risen, or it will sulk⟫” [1].\n\n"
        "[Recipe](https://kitchen.example.com/olive-bread?print=1)"
    )
    return Case(
        name="",
        answer=answer,
        evidence=Evidence(
            outputs=[text],
            given="Find an olive bread recipe for 4",
            citations=citations,
            pages=pages,
        ),
    )


def frame(r: random.Random) -> Case:
    rows = [(name, r.uniform(-40, 90), r.randrange(1000, 90000)) for name in NAMES]
    lines = [
        f"{i}  {name:<10} {change:>9.4f} {volume:>8}"
        for i, (name, change, volume) in enumerate(rows)
    ]
    output = (
        "   name          change   volume\n"
        + "\n".join(lines)
        + f"\n\nmean change: {sum(x[1] for x in rows) / 6:.6f}\n"
    )
    best, worst = max(rows, key=lambda x: x[1]), min(rows, key=lambda x: x[1])
    sign = "−" if worst[1] < 0 else ""
    answer = (
        f"{best[0]} did best (⟦{best[1]:.1f}⟧), {worst[0]} worst (⟦{sign}{abs(worst[1]):.1f}⟧). The volumes:\n\n"
        "| Rank | Name | Volume |\n|---:|:---|---:|\n"
        + "\n".join(
            f"| {n} | {name} | ⟦{volume:,}⟧ |"
            for n, (name, _, volume) in enumerate(sorted(rows, key=lambda x: -x[2]), 1)
        )
        + "\n\nThese are all 6 of them."
    )
    return Case(
        name="",
        agent="analyst",
        answer=answer,
        evidence=Evidence(outputs=[output], given="Who did best?"),
    )


def repository(r: random.Random) -> Case:
    stars, forks, issue = r.randrange(1100, 58_000), r.randrange(110, 990), r.randrange(1200, 9900)
    body = json.dumps(
        {
            "full_name": "acme/widget",
            "stargazers_count": stars,
            "forks": forks,
            "license": {"spdx_id": "Apache-2.0"},
            "pushed_at": "2024-08-19T07:31:22Z",
            "html_url": "https://git.example.com/acme/widget",
            "open_issues": issue,
        }
    )
    answer = (
        f"`acme/widget` has about ⟦{stars / 1000:.1f}⟧k stars, ⟦{forks}⟧ forks and ⟦{issue:,}⟧ open issues. It is "
        "licensed under Apache-2.0; the last push was on ⟦19 August 2024⟧ at ⟦07:31⟧ UTC.\n\n"
        "```json\n"
        f'{{"stars": {stars}, "forks": {forks}}}'
        "\n```\n\nhttps://git.example.com/acme/widget"
    )
    return Case(
        name="",
        agent="coder",
        answer=answer,
        evidence=Evidence(
            outputs=[f"HTTP 200, application/json\n{body}"], given="Look at acme/widget"
        ),
    )


def election(r: random.Random) -> Case:
    a = r.randrange(210_000, 880_000)
    b = r.randrange(110_000, 200_000)
    turnout = r.uniform(0.41, 0.79)
    output = f"votes_a {a}\nvotes_b {b}\nlead {a - b}\nshare_a {a / (a + b):.6f}\nturnout {turnout:.5f}\n"
    answer = (
        f"{NAMES[0]} won by ⟦{a - b:,}⟧ votes, with ⟦{a / (a + b) * 100:.1f}⟧ percent against "
        f"{NAMES[1]}, who got ⟦{b:,}⟧. Turnout was ⟦{turnout * 100:.1f}⟧%. That is a lead of just over "
        f"{(a - b) // 1000 * 1000:,} votes."
    )
    return Case(
        name="",
        agent="analyst",
        answer=answer,
        evidence=Evidence(outputs=[output], given="Who won?"),
    )


def thread(r: random.Random) -> Case:
    year, share, cost = r.randrange(2021, 2030), r.randrange(23, 91), r.uniform(1.2, 9.4)
    one = (
        f"By {year} every ticket machine will take cards, said the operator. Nearly {share} percent already do. "
        "“We are not going to leave anyone standing on the platform with the wrong coins,” a spokesman said."
    )
    two = f"The programme is budgeted at ${cost:.1f} billion, according to documents seen by this paper; critics call that figure a fantasy."
    base = "https://transit.example.info/news"
    citations, pages = _read(
        ("Cards by then", f"{base}/cards", one), ("What it costs", f"{base}/costs#top", two)
    )
    answer = (
        f"Two sources, briefly:\n\n1. All machines are to take cards by ⟦{year}⟧; ⟦{share}⟧% do so now [1].\n"
        f"2. It is to cost ⟦{cost:.1f}⟧ billion dollars — which “⟪critics call … a fantasy⟫” [2].\n\n"
        'The operator promises: "⟪We are not going to leave anyone standing on the platform with the wrong coins⟫," [1] it said.\n\n'
        f"Sources:\n- [1] {base}/cards\n- [2] {base}/costs"
    )
    return Case(
        name="",
        answer=answer,
        evidence=Evidence(outputs=[one, two], citations=citations, pages=pages),
    )


def handover(r: random.Random) -> Case:
    mean, change, seats = r.uniform(110, 990), r.uniform(3, 38), r.randrange(31, 480)
    results = (
        '<result agent="analyst" round="1" status="completed">\n'
        f"The mean fare is {mean:.2f} euros (growth: {change:.1f} %).\n</result>\n"
        '<result agent="researcher" round="1" status="completed">\n'
        f"A train has {seats} seats; the operator says “no journey should cost more than the day is worth” [1].\n</result>"
    )
    answer = (
        f"Both results together: the mean fare is €⟦{mean:.2f}⟧, up ⟦{change:.1f}⟧%, on trains of ⟦{seats}⟧ seats [1]. "
        'The operator holds that "⟪no journey should cost more than the day is worth⟫" [1].'
    )
    return Case(
        name="",
        agent="coder",
        answer=answer,
        evidence=Evidence(outputs=[], given="Put both together", results=results),
    )


def pdf(r: random.Random) -> Case:
    depth, count, speed = r.uniform(210, 990), r.randrange(31, 480), r.uniform(3.1, 9.9)
    text = (
        f"Table 4. Boreholes. The deepest reached {depth:.1f} m below datum. In all, {count} samples were ana-\nlysed. Sound travelled "
        f"at {speed:.2f} km/s through the upper layer, which is con-\nsistent with wet sand. The instrument was re-\ncalibrated twice.\n"
    )
    citations, pages = _read(
        ("Survey report (PDF)", "https://archive.example.gov/r/4471.pdf", text)
    )
    answer = (
        f"The deepest hole goes down ⟦{depth:.0f}⟧ metres, and ⟦{count}⟧ samples were taken [1]. Sound moves at ⟦{speed:.1f}⟧ km/s, "
        "“⟪which is consistent with wet sand⟫” [1]. “⟪The instrument was recalibrated twice⟫” [1]. "
        "(Table 4 of https://archive.example.gov/r/4471.pdf)"
    )
    return Case(
        name="", answer=answer, evidence=Evidence(outputs=[text], citations=citations, pages=pages)
    )


def markup(r: random.Random) -> Case:
    km, crew, knots = r.randrange(310, 990), r.randrange(12, 60), r.uniform(11, 30)
    text = (
        f"The *Albatros* is a [research ship](https://ships.example.org/type) with a crew of {crew}. It&rsquo;s the **oldest hull still in "
        f"service** &mdash; and, at {knots:.1f} knots, one of the slowest.[3] It sails some {km},400 km a year."
    )
    citations, pages = _read(("Albatros", "https://ships.example.org/albatros/", text))
    answer = (
        f"A crew of ⟦{crew}⟧ sails the *Albatros* at ⟦{knots:.1f}⟧ knots, ⟦{km},400⟧ km a year [1].\n\n"
        "> ⟪It's the oldest hull still in service — and, at⟫ […] ⟪knots, one of the slowest.⟫ [1]\n\n"
        "See [the page](https://ships.example.org/albatros) and [what kind of ship](https://ships.example.org/type)."
    )
    return Case(
        name="", answer=answer, evidence=Evidence(outputs=[text], citations=citations, pages=pages)
    )


def loan(r: random.Random) -> Case:
    rate, months, pay = r.uniform(1.1, 8.9), r.choice((48, 60, 84, 120)), r.uniform(210, 1900)
    total = pay * months
    output = f"monthly payment: {pay:.4f}\ntotal paid: {total:.2f}\neffective rate: {rate / 100:.5f}\nnet change: {-total / 7:.2f}\n"
    answer = (
        f"Over ⟦{months}⟧ months you pay €⟦{pay:,.2f}⟧ a month, €⟦{total:,.0f}⟧ altogether, at an effective ⟦{rate:.2f}⟧%. "
        f"The balance moves by ⟦-{total / 7:,.2f}⟧."
    )
    evidence = Evidence(outputs=[output], given=f"A loan over {months} months: what do I pay?")
    return Case(name="", agent="analyst", answer=answer, evidence=evidence)


HELD_OUT: Final[tuple[Callable[[random.Random], Case], ...]] = (
    trial, court, logs, french, recipe, frame, repository, election, thread, handover, pdf, markup, loan,
)  # fmt: skip


def make_held_out() -> list[Case]:
    """Return every case; the same ones each time."""
    chance = random.Random(29)
    made = [(write, number, write(chance)) for number in range(VARIANTS) for write in HELD_OUT]
    return [
        Case(
            name=f"{write.__name__} {number}",
            agent=one.agent,
            answer=one.answer,
            evidence=one.evidence,
        )
        for write, number, one in made
    ]
