"""Random PH16 values, commands and replies."""

from __future__ import annotations

from hypothesis import strategies as st

from firmware_protocols.phantom import (
    Answer,
    Command,
    Failure,
    Flags,
    Hex,
    Resolution,
    Success,
    Word,
)

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
paths = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}(\.[a-z0-9]{1,5}){0,2}", fullmatch=True)
words = st.sampled_from(["8R", "P16", "P16R", "P10", "a.cine", "WTR", "x", "x1", "-P", "1e", "0x"])
strings = st.text(
    st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc")), max_size=20
) | st.sampled_from(['"', "\\", '\\"', "a\\\\", "{ x : 1 }", "@trig@", "ERR: no", "tab\there"])
scalars = st.one_of(
    st.integers(-(10**19), 10**19),
    st.integers(0, 2**64 - 1).map(Hex),
    st.floats(allow_nan=False, allow_infinity=False),
    strings,
    words.map(Word),
    st.builds(Resolution, st.integers(0, 99999), st.integers(0, 99999)),
    st.lists(st.sampled_from("WTR DEF ABL 8 -1 0x1F 2.5 P16".split()), max_size=5).map(Flags),  # noqa: SIM905
)
values = st.recursive(
    scalars, lambda inner: st.dictionaries(names, inner, min_size=1, max_size=4), max_leaves=12
)
structs = st.dictionaries(names, values, min_size=1, max_size=5)
replies = st.one_of(
    st.builds(Success, st.none() | structs),
    st.builds(
        Failure,
        # an error that ends in a backslash cannot be said: the line would go on
        st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30).filter(
            lambda text: not text.endswith("\\")
        ),
    ),
    st.builds(Answer, paths, values),
)
integers = st.integers(-(10**19), 10**19)
commands = st.one_of(
    st.builds(Command, names, st.none(), st.none() | structs | integers),
    st.builds(Command, names, paths, st.none() | values),
)


def same(a: object, b: object) -> bool:
    """Whether two values are equal and of the same kinds throughout."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b
