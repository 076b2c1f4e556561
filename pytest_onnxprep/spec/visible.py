"""Text from models, files and frameworks as a terminal may show it."""

from __future__ import annotations

import re

#: Colours of a framework's own messages: they say nothing.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: C0 and C1 controls but tab and line feed, and what turns the direction of the text around it or breaks a line.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """The text without colours, and with other control characters written out.

    A name in a file may clear the terminal, or move its cursor over what pytest says.
    """
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub(_written_out, _COLOUR.sub("", text).replace("\r\n", "\n"))


def _written_out(found: re.Match[str]) -> str:
    number = ord(found.group())
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
