"""The offline planner with tables: from the file that came with a task to figures, a chart and words."""

from __future__ import annotations

import csv
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from agents._kit.offline import OfflineChatModel
from agents._kit.offline_questions import Question, read_question
from agents._kit.offline_routing import divide_task
from agents._kit.offline_studies import write_study
from agents._kit.offline_tables import Description, find_table, read_description
from agents._kit.prompts import PromptParts, write_prompt
from agents.analyst import AGENT as ANALYST
from agents.coder import AGENT as CODER
from agents.researcher import AGENT as RESEARCHER
from domain.artifact import InputFile
from domain.errors import ToolFailedError
from domain.run import RunContext
from tests.fakes.sandbox import open_sandbox
from tools.files import make_list_files, make_read_file
from tools.python import make_run_python, read_libraries
from tools.sandbox.monty import MontySandbox
from tools.tables import make_describe_table

TEAM: Final = (ANALYST, CODER, RESEARCHER)
PNG: Final = b"\x89PNG\r\n\x1a\n"

SALES: Final = (
    "date,region,unit_price,revenue\n"
    "2024-01-05,north,10,100\n2024-01-20,south,12,60\n"
    "2024-02-03,north,11,150\n2024-02-14,south,12,90\n"
    "2024-03-01,north,15,210\n2024-03-09,south,12,\n"
)
DESCRIBED: Final = (
    "sales.csv: CSV with commas, 6 rows, 4 columns\n"
    "Read it with: pandas.read_csv('sales.csv')\n"
    "Note: something is odd\n"
    "Columns, with type, missing values and summary:\n"
    '"date": date as text with the day first, 0 missing; first 2024-01-05, last 2024-03-09; 6 distinct\n'
    "\"region\": text, 0 missing; 2 distinct; values: 'north' (3), 'south' (3)\n"
    '"unit_price": whole number, 0 missing; min 10, mean 12, median 12, max 15, std 1.6; 4 distinct\n'
    '"revenue": number, 1 missing; min 60, mean 122, median 100, max 210, std 58.9; 5 distinct\n'
    '"year": whole number, 0 missing; min 2019, mean 2020, median 2020, max 2024, std 1; 4 distinct\n'
    "\"month\": text, 0 missing; 3 distinct; values: 'Jan' (2), 'Feb' (2), 'Mar' (2)\n"
    '"paid": yes/no, 0 missing; true 4, false 2\n'
    "First 3 rows:\n"
    "2024-01-05 | north | 10 | 100.0"
)


class Explaining(AgentMiddleware[Any, Any]):
    """Hands a tool's refusal to the model, as the service does."""

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        try:
            return await handler(request)
        except ToolFailedError as error:
            return ToolMessage(str(error), tool_call_id=request.tool_call["id"], status="error")


def tools_over(sandbox: Any) -> list[BaseTool]:
    return [
        make_run_python(sandbox),
        make_describe_table(sandbox),
        make_read_file(),
        make_list_files(),
    ]


async def work(
    task: str, folder: Path, *, tools: list[BaseTool] | None = None, **files: str
) -> list[BaseMessage]:
    """Have the analyst do a task whose files are given by name, `__` standing for the dot."""
    listed = []
    for key, content in files.items():
        path = folder / key.replace("__", ".")
        path.write_text(content)
        listed.append(InputFile(name=path.name, size=path.stat().st_size))
    offered = tools_over(open_sandbox()) if tools is None else tools
    agent = create_agent(
        OfflineChatModel(specs=TEAM), offered, context_schema=RunContext, middleware=[Explaining()]
    )
    context = RunContext(
        run_id="r", tenant_id="t", thread_id="h", attempt=1, max_rounds=1, workspace=folder
    )
    human = HumanMessage(write_prompt(task, files=listed, assignment=task))
    state = await agent.ainvoke({"messages": [human]}, context=context)
    messages: list[BaseMessage] = state["messages"]
    return messages


def calls(messages: list[BaseMessage]) -> list[str]:
    return [call["name"] for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]


async def test_a_posted_table_is_described_then_computed_and_drawn(tmp_path: Path) -> None:
    task = "Summarise sales.csv and chart revenue by month"
    messages = await work(task, tmp_path, sales__csv=SALES)
    answer = messages[-1].text

    assert calls(messages) == ["describe_table", "run_python"]
    assert "sales.csv: CSV with commas, 6 rows, 4 columns: date (date), region (text)" in answer
    assert "- revenue, sum: 610" in answer
    assert "| 2024-01 | 160 |\n| 2024-02 | 240 |\n| 2024-03 | 210 |" in answer
    assert "the highest is 240 (2024-02), the lowest 160 (2024-01)" in answer
    assert "changed by 50 (31.25%), from 160 to 210" in answer
    assert "linear trend is rising: 25 per month that has rows" in answer
    assert (
        "Chart: `revenue_by_month.png` shows revenue (sum) by month of date as a line of 3 points"
        in answer
    )
    assert "Not done" not in answer
    assert (tmp_path / "revenue_by_month.png").read_bytes().startswith(PNG)
    with (tmp_path / "revenue_by_month.csv").open(newline="") as file:
        assert [row[2:] for row in csv.reader(file)] == [
            ["x", "y"], ["2024-01-01", "160"], ["2024-02-01", "240"], ["2024-03-01", "210"],
        ]  # fmt: skip


async def test_what_is_stated_was_printed(tmp_path: Path) -> None:
    messages = await work("Analyse this", tmp_path, sales__csv=SALES)
    described, ran = (m.text for m in messages if isinstance(m, ToolMessage))
    body = messages[-1].text.partition("Computed with Python from `sales.csv`:\n\n")
    assert body[2] == ran.strip()
    assert body[0].startswith(described.splitlines()[0])
    assert "Chart: `revenue_by_date.png`" in body[2]


async def test_a_question_gets_its_figure_and_no_chart(tmp_path: Path) -> None:
    task = "What is the average unit price in the north?"
    answer = (await work(task, tmp_path, sales__csv=SALES))[-1].text
    assert "Rows used: 3 (only those where region is north)" in answer
    assert "- unit_price, mean: 12" in answer
    assert "revenue, " not in answer
    assert not list(tmp_path.glob("*.png"))


async def test_categories_are_drawn_as_bars_and_what_needs_a_model_is_named(tmp_path: Path) -> None:
    task = "Which region has the highest revenue? Draw a bar chart as best.png and explain why."
    answer = (await work(task, tmp_path, sales__csv=SALES, other__csv="a\n1\n"))[-1].text
    assert "| north | 460 |\n| south | 150 |" in answer
    assert (
        "`best.png` shows revenue (sum) by region as 2 bars, from north (460) to south (150)"
        in answer
    )
    assert "Not looked at: other.csv." in answer
    assert 'Not done: "explain why"' in answer
    assert "OPENAI_API_KEY" in answer
    assert (tmp_path / "best.png").read_bytes().startswith(PNG)


async def test_pasted_numbers_are_drawn_where_matplotlib_is_there(tmp_path: Path) -> None:
    answer = (await work("plot 3, 5, 9", tmp_path))[-1].text
    assert (
        "Chart: values.png shows the 3 values in their order as a line, from 3 to 9; the highest is 9"
        in answer
    )
    assert "Not done" not in answer
    assert (tmp_path / "values.png").read_bytes().startswith(PNG)
    assert (
        (tmp_path / "values.csv")
        .read_text()
        .endswith(",1,3\n3 values in their order,line 1,2,5\n3 values in their order,line 1,3,9\n")
    )
    answer = (await work("histogram of 3, 5, 9, 9 please", tmp_path))[-1].text
    assert (
        "Chart: histogram.png shows how the 4 values are distributed; most of them, 2, lie between"
        in answer
    )


async def test_names_and_values_of_any_kind_are_data(tmp_path: Path) -> None:
    table = '$a$ {x},"na""me`|\\",[b](http://x)\n1,"u\nv",3\n4,"v{0}\'\\",6\n'
    answer = (await work("Analyse this", tmp_path, odd__csv=table))[-1].text
    assert "- $a$ {x}, sum: 5" in answer
    assert "(b)(http://x), mean: 4.5" in answer
    assert "| u v | 1 | 3 |" in answer
    assert [path for path in tmp_path.glob("*.png") if path.read_bytes().startswith(PNG)]


async def test_a_table_that_cannot_be_read_is_told_in_its_own_words(tmp_path: Path) -> None:
    messages = await work("Summarise this", tmp_path, t__csv=" \n")
    assert calls(messages) == ["describe_table"]
    assert (
        messages[-1].text
        == "I could not look at `t.csv`: t.csv is empty: it has nothing but blanks."
    )
    missing = await work("Summarise none.csv", tmp_path, t__csv="a\n1\n")
    assert (
        "There is no file 'none.csv' in the workspace. The files there are: t.csv."
        in missing[-1].text
    )


async def test_a_table_without_numbers_is_counted(tmp_path: Path) -> None:
    answer = (
        await work(
            "How many rows per city?", tmp_path, t__csv="name,city\na,Rome\nb,Rome\nc,Bonn\n"
        )
    )[-1].text
    assert "| Rome | 2 |\n| Bonn | 1 |" in answer


async def test_a_sandbox_without_libraries_says_what_it_lacks(tmp_path: Path) -> None:
    sandbox = MontySandbox()
    try:
        answer = (await work("plot the mean of 3, 5, 10", tmp_path, tools=tools_over(sandbox)))[
            -1
        ].text
        assert "- mean: 6" in answer
        assert "Not done: the chart. That needs matplotlib" in answer
        table = await work("Summarise this", tmp_path, tools=tools_over(sandbox), t__csv="a\n1\n")
    finally:
        await sandbox.aclose()
    assert table[-1].text.startswith("I could not look at `t.csv`: ")
    assert "pandas" in table[-1].text


def test_the_libraries_are_read_from_the_description_of_the_tool() -> None:
    assert (
        read_libraries(make_run_python(open_sandbox()).description)
        == open_sandbox().state.libraries
    )
    assert read_libraries(make_run_python(MontySandbox()).description) == ()


def description() -> Description:
    found = read_description(DESCRIBED)
    assert found is not None
    return found


def test_a_description_is_read_again() -> None:
    found = description()
    assert found.call == "pandas.read_csv('sales.csv')"
    assert found.notes == ("Note: something is odd",)
    assert [(c.name, c.kind) for c in found.columns] == [
        ("date", "date"),
        ("region", "text"),
        ("unit_price", "number"),
        ("revenue", "number"),
        ("year", "year"),
        ("month", "period"),
        ("paid", "flag"),
    ]
    assert found.columns[0].day_first
    assert found.columns[0].span == ("2024-01-05", "2024-03-09")
    assert found.columns[1].values == ("north", "south")
    assert read_description("no table") is None


def ask(text: str) -> Question:
    return read_question(text, description(), "sales.csv")


@pytest.mark.parametrize(
    ("text", "measures", "group"),
    [
        ("revenue by region", ["revenue"], "region"),
        ("total revenues per region", ["revenue"], "region"),
        ("Which region has the best unit price?", ["unit_price"], "region"),
        ("revenue by month and region", ["revenue"], "month"),
        ("how did revenue grow?", ["revenue"], "date"),
        ("revenue over time", ["revenue"], "date"),
        ("Compare north and south", ["unit_price", "revenue"], "region"),
        ("quarterly revenue", ["revenue"], "date"),
        ("average revenue", ["revenue"], None),
        ("the mean of unit price", ["unit_price"], None),
        ("histogram of revenue", ["revenue"], None),
        ("Analyse sales.csv", ["unit_price", "revenue"], "date"),
    ],
)
def test_a_text_names_columns_and_what_they_are_grouped_by(
    text: str, measures: list[str], group: str | None
) -> None:
    question = ask(text)
    assert [column.name for column in question.measures] == measures
    assert (question.group.column.name if question.group else None) == group


@pytest.mark.parametrize(
    ("text", "chart"),
    [
        ("Summarise sales.csv", True),
        ("What does this show?", True),
        ("plot revenue", True),
        ("What is the average revenue?", False),
        ("Analyse it without a chart", False),
    ],
)
def test_a_chart_is_drawn_where_it_is_wanted(text: str, chart: bool) -> None:
    assert ask(text).chart is chart


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("average revenue in Berlin", ("in Berlin",)),
        ("total revenue without refunds", ("without refunds",)),
        ("revenue by region and month", ("by month",)),
        ("revenue since 2023", ("since 2023",)),
        ("revenue by region, find outliers and recommend something", ("outliers", "recommend")),
        ("Summarise the revenue of north in 2024 for me", ()),
        ("Give me a general overview of this file", ()),
    ],
)
def test_what_is_not_done_is_known(text: str, points: tuple[str, ...]) -> None:
    assert set(points) == set(ask(text).open_points)


@pytest.mark.parametrize(
    ("text", "files", "path"),
    [
        ("Summarise sales.csv", (), "sales.csv"),
        ("Summarise out/sales.v2.XLSX, please.", (), "out/sales.v2.XLSX"),
        ("Analyse this", ("notes.txt", "b.csv", "c.csv"), "b.csv"),
        ("Analyse the costs", ("a.csv", "costs.csv"), "costs.csv"),
        ("Chart my sales 2024.csv by month", ("a.csv", "my sales 2024.csv"), "my sales 2024.csv"),
        ("Read notes.txt", ("notes.txt", "a.csv"), None),
        ("Analyse this", ("notes.txt",), None),
        ("What is 3 * 4?", (), None),
    ],
)
def test_the_table_of_a_text_is_found(text: str, files: tuple[str, ...], path: str | None) -> None:
    table = find_table(text, PromptParts(text, [], text, files))
    assert (table.path if table else None) == path


@pytest.mark.parametrize(
    ("task", "agents"),
    [
        ("Summarise sales.csv and chart revenue by month", ["analyst"]),
        ("What is the average price?", ["analyst"]),
        ("Analyse this", ["analyst"]),
        ("Summarise this", ["analyst"]),
        ("Describe the data", ["analyst"]),
        ("Who sold the most?", ["analyst"]),
        ("Bitte auswerten", ["analyst"]),
        ("Look up what a median is", ["researcher"]),
        ("Summarise sales.csv and look up what a context manager is", ["analyst", "researcher"]),
        ("Look up what a context manager is and summarise sales.csv", ["researcher", "analyst"]),
        ("Write a script that parses sales.csv", ["coder"]),
        ("Ask the coder to look at sales.csv", ["coder"]),
    ],
)
def test_a_task_with_a_table_goes_to_who_can_look_into_it(task: str, agents: list[str]) -> None:
    assert [part.spec.name for part in divide_task(task, TEAM, ["sales.csv"])] == agents


def test_without_a_table_nothing_changes() -> None:
    for task in ("Summarise this", "What is the average rainfall in Rome?"):
        assert [part.spec.name for part in divide_task(task, TEAM)] == ["researcher"]


@pytest.mark.parametrize(
    "piece", ["a.csv ", "by ", "in x ", "'a' (1), ", '"', "a" * 50, "revenue by region "]
)
def test_long_texts_hold_nobody_up(piece: str) -> None:
    text = (piece * 32_000)[:32_000]
    columns = "".join(
        f"\"column {n} {piece[:20]!a}\": text, 0 missing; 2 distinct; values: 'a' (1)\n"
        for n in range(200)
    )
    described = DESCRIBED.replace('"paid"', f'{columns}"paid"')
    started = time.perf_counter()
    table = find_table(text, PromptParts(text, [], text, ("sales.csv",)))
    found = read_description(described) or description()
    assert table is not None or piece == "a.csv "
    if table:
        write_study(text, table, found, ["matplotlib"])
    read_description((piece * 16_000)[:16_000])
    divide_task(text, TEAM, ["sales.csv"])
    assert time.perf_counter() - started < 2.0  # some hundredths on an idle machine
