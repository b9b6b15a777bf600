# SPDX-License-Identifier: Apache-2.0
"""A reader of SVG drawings that strangers upload, with the holes that such readers have.

Runs in an enclave that has no ocalls: nothing leads out but the answers. The holes are real ones
of their kind. None of them has been closed here, because a parser of some size has others that
nobody has found yet:

- an external entity is read from whatever file it names (CWE-611);
- a `<use>` that refers to what it lies in is followed forever (CWE-835);
- the last pixel of a bitmap is looked up where its header says it is (CWE-125).
"""

from __future__ import annotations

import base64
import ctypes
from dataclasses import dataclass
from typing import Annotated
from xml.parsers import expat

import msgspec

import hotcalls

SHAPES = {"circle", "ellipse", "image", "line", "path", "polygon", "polyline", "rect", "text"}
GRAYMAP = "data:image/x-portable-graymap;base64,"

Size = Annotated[float, msgspec.Meta(gt=0, le=100_000)]
Title = Annotated[str, msgspec.Meta(max_length=200)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


@dataclass(frozen=True)
class Drawing:
    """What the host wants to know. Both sides check it: these types, these limits, no more."""

    width: Size
    height: Size
    title: Title
    shapes: dict[str, Count]
    background: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None


@dataclass
class _Element:
    name: str
    attributes: dict[str, str]
    children: list[_Element]
    text: str = ""


@hotcalls.ecall
def read(svg: bytes) -> Drawing:
    """Read a drawing."""
    root, by_id = _parse(svg)
    if root.name != "svg":
        raise ValueError(f"a drawing begins with <svg>, not with <{root.name[:40]}>")
    shapes: dict[str, int] = {}
    _count(root, by_id, shapes)
    titles = [child.text.strip() for child in root.children if child.name == "title"]
    return Drawing(
        width=float(root.attributes.get("width", "300").removesuffix("px")),
        height=float(root.attributes.get("height", "150").removesuffix("px")),
        title=titles[0] if titles else "",
        shapes=shapes,
        background=next((_last_pixel(href) for href in _bitmaps(root)), None),
    )


def _parse(svg: bytes) -> tuple[_Element, dict[str, _Element]]:
    top = _Element("", {}, [])
    open_elements, by_id = [top], {}
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        element = _Element(name, attributes, [])
        open_elements[-1].children.append(element)
        open_elements.append(element)
        by_id[f"#{attributes.get('id')}"] = element

    def end(name: str) -> None:
        open_elements.pop()

    def text(data: str) -> None:
        open_elements[-1].text += data

    def entity(context: str, base: str | None, system: str, public: str | None) -> int:
        with open(system, "rb") as file:  # the first hole
            parser.ExternalEntityParserCreate(context).ParseFile(file)
        return 1

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.ExternalEntityRefHandler = entity
    try:
        parser.Parse(svg, True)
    except expat.ExpatError as error:
        raise ValueError(f"no drawing: {error}") from None
    return top.children[0], by_id


def _count(root: _Element, by_id: dict[str, _Element], shapes: dict[str, int]) -> None:
    waiting = [root]
    while waiting:  # the second hole: nobody remembers what was already there
        element = waiting.pop()
        waiting += element.children
        if element.name == "use" and element.attributes.get("href") in by_id:
            waiting.append(by_id[element.attributes["href"]])
        elif element.name in SHAPES:
            shapes[element.name] = shapes.get(element.name, 0) + 1


def _bitmaps(root: _Element) -> list[str]:
    waiting, found = [root], []
    while waiting:
        element = waiting.pop()
        waiting += element.children
        href = element.attributes.get("href", "")
        if element.name == "image" and href.startswith(GRAYMAP):
            found.append(href)
    return found


def _last_pixel(href: str) -> int:
    data = base64.b64decode(href.removeprefix(GRAYMAP))
    magic, width, height, _, pixels = data.split(maxsplit=4)
    if magic != b"P5":
        raise ValueError("no bitmap of a format that is read here")
    # The third hole: what a C library does that multiplies two numbers of a header.
    first = ctypes.cast(pixels, ctypes.c_void_p).value or 0
    return ctypes.string_at(first + int(width) * int(height) - 1, 1)[0]
