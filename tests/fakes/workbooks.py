"""Writes small Excel workbooks without any library for them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_XML: Final = '<?xml version="1.0" encoding="UTF-8"?>'
_OFFICE: Final = "http://schemas.openxmlformats.org"
_TYPE: Final = f"{_OFFICE}/officeDocument/2006/relationships"
_MAIN: Final = f"{_OFFICE}/spreadsheetml/2006/main"
_KIND: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def write_workbook(path: Path, sheets: dict[str, Sequence[Sequence[str | float]]]) -> None:
    """Write a workbook of sheets by name, each a list of rows of texts and numbers."""
    numbers = range(1, len(sheets) + 1)
    overrides = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{_KIND}.worksheet+xml"/>'
        for n in numbers
    )
    links = "".join(
        f'<Relationship Id="r{n}" Type="{_TYPE}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in numbers
    )
    listed = "".join(
        f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>'
        for n, name in zip(numbers, sheets, strict=True)
    )
    with zipfile.ZipFile(path, "w") as book:
        book.writestr(
            "[Content_Types].xml",
            f'{_XML}<Types xmlns="{_OFFICE}/package/2006/content-types">'
            '<Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{_KIND}.sheet.main+xml"/>{overrides}</Types>',
        )
        relations = f'{_XML}<Relationships xmlns="{_OFFICE}/package/2006/relationships">'
        book.writestr(
            "_rels/.rels",
            f'{relations}<Relationship Id="r1" Type="{_TYPE}/officeDocument" Target="xl/workbook.xml"/>'
            "</Relationships>",
        )
        book.writestr(
            "xl/workbook.xml",
            f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_TYPE}"><sheets>{listed}</sheets></workbook>',
        )
        book.writestr("xl/_rels/workbook.xml.rels", f"{relations}{links}</Relationships>")
        for number, rows in zip(numbers, sheets.values(), strict=True):
            data = "".join(f'<row r="{r}">{_cells(row, r)}</row>' for r, row in enumerate(rows, 1))
            book.writestr(
                f"xl/worksheets/sheet{number}.xml",
                f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>{data}</sheetData></worksheet>',
            )


def _cells(row: Sequence[str | float], number: int) -> str:
    cells = []
    for column, value in zip("ABCDEFGH", row, strict=False):
        place = f'r="{column}{number}"'
        if isinstance(value, str):
            cells.append(f'<c {place} t="inlineStr"><is><t>{value}</t></is></c>')
        else:
            cells.append(f"<c {place}><v>{value}</v></c>")
    return "".join(cells)
