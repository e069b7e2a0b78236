"""Which quotations of an answer stand in what was read."""

from __future__ import annotations

import pytest

from agents._kit.grounding.check import Evidence, find_faults
from domain.agent import Citation

PAGE = (
    "The **quick** brown fox — says the [old tale](https://tales.example/a) — jumps over the lazy dog.[3] "
    "It&rsquo;s a well-\nknown sentence, and it\n  never grows old.\n\n> So they say, anyway, in the north."
)


def faults(answer: str, *outputs: str, **more) -> list[str]:
    found = find_faults("researcher", answer, Evidence(outputs=outputs or (PAGE,), **more))
    return [fault["text"] for fault in found if fault["kind"] == "quote"]


@pytest.mark.parametrize(
    "quote",
    [
        '"the quick brown fox"',
        "“The quick brown fox – says the old tale – jumps”",
        "„quick brown fox says the old tale“",
        "«jumps over the lazy dog»",
        "»jumps over the lazy dog.«",
        "‘Jumps over the lazy dog. It's a well-known sentence’",
        '"It\'s a wellknown sentence, and it never grows old."',
        '"the quick … jumps over the lazy dog"',
        '"the quick [...] jumps over the lazy [animal]"',
        '"…over the lazy dog..."',
        "> The quick brown fox … jumps over the lazy dog. [1]",
        "> **So they say**, anyway,\n> in the north.\n> — an old man",
        "> [!NOTE]\n> This is said by nobody but me.",
        '"three words only"',
        'He is 5" tall and she is 6" tall, and so on.',
        '`"this stands in code only"`',
        '```\n"this stands in code only"\n```',
        'I searched for "capital of the north pole" first.',
    ],
)
def test_a_true_quotation_holds_however_it_is_marked(quote):
    assert not faults(f"Well: {quote}" if not quote.startswith((">", "`")) else quote)


@pytest.mark.parametrize(
    "quote",
    [
        '"the quick red fox"',
        "“The quick brown fox says the new tale”",
        "„quick fox says the old tale“",
        "«jumps over the very lazy dog»",
        "‘Jumps over the lazy dogs. It is a well-known sentence’",
        '"the lazy dog … the quick brown fox"',
        '"the quick brown f"',
        '"Unbelievable, extraordinarily so"',
        "> The quick brown fox jumps over the dog. [1]",
        '"the quick\u200b green fox jumps"',
    ],
)
def test_a_quotation_with_a_word_changed_is_a_fault(quote):
    assert len(faults(quote if quote.startswith(">") else f"Well: {quote}")) == 1


def test_a_quotation_must_stand_in_the_source_that_is_marked_behind_it():
    pages = {1: "Nothing of the kind is here.", 2: PAGE}
    citations = [Citation(number=n, title="t", source=f"{n}.md", snippet="") for n in (1, 2)]
    more = {"citations": citations, "pages": pages}
    assert not faults('"The quick brown fox" [2]', **more)
    assert not faults('"The quick brown fox" [1][2]', **more)
    [fault] = find_faults(
        "r", '"The quick brown fox" [1]', Evidence(outputs=[PAGE], citations=citations, pages=pages)
    )
    assert fault["kind"] == "quote"
    assert fault["reason"] == (
        "The page of [1] does not hold these words; they stand in [2]. Put the mark of their source."
    )


def test_words_may_be_quoted_from_the_task_a_result_json_or_a_program():
    assert not faults('"do this one thing"', "x", given="please do this one thing")
    assert not faults('"do this one thing"', "x", results="to do this one thing")
    assert not faults('"do this one thing"', r'{"a": "please\ndo this\u0020one thing"}')
    assert not faults('"do this one thing"', "x", programs=['print("do this one thing")'])
    assert faults('"do this one thing"', "x")
