"""The sections of a radiology report: free text in, {"findings": ..., "impression": ...} out.

sections(Path("s50414267.txt").read_text())["impression"]
"""

from __future__ import annotations

import re

NAMES = {
    "findings": ("FINDINGS", "FINDING"),
    "impression": ("IMPRESSION", "IMPRESSIONS", "CONCLUSION", "CONCLUSIONS"),
    "indication": (
        "INDICATION",
        "INDICATIONS",
        "HISTORY",
        "CLINICAL HISTORY",
        "CLINICAL INFORMATION",
        "REASON FOR EXAM",
    ),
    "comparison": ("COMPARISON", "COMPARISONS"),
    "technique": ("TECHNIQUE", "PROCEDURE"),
    "examination": ("EXAMINATION", "EXAM", "TYPE OF EXAMINATION", "STUDY"),
    "recommendation": ("RECOMMENDATION", "RECOMMENDATIONS"),
    "notification": ("NOTIFICATION",),
}
_CANONICAL = {heading: name for name, headings in NAMES.items() for heading in headings}
_HEADING = re.compile(r"^[ \t]*([A-Z][A-Z0-9 ,/&()_-]{1,60}?)[ \t]*:[ \t]*", re.MULTILINE)
_VIEWS = re.compile(r"\b(CHEST|VIEWS?|RADIOGRAPHS?|PORTABLE|LATERAL|FRONTAL|AP|PA)\b")
_RULE = re.compile(r"^[ \t]*_{8,}[ \t]*$", re.MULTILINE)


def sections(report: str) -> dict[str, str]:
    """The sections by name, each on one line; what stands under a line of underscores and ADDENDUM is `addendum`.

    A heading is capitals and a colon at the start of a line. One that is not known stays part of a findings or
    impression section it stands in ("LUNGS: clear"); elsewhere, if it names a view ("PA AND LATERAL CHEST:"), its text is
    the findings of a report that has no section of that name. Sections of the same name are joined.
    """
    found: dict[str, list[str]] = {}
    main: list[str] = []
    for part in _RULE.split(report):
        if re.search(r"\bADDENDUM\b", part) and "FINAL REPORT" not in part:
            found.setdefault("addendum", []).append(re.sub(r"^\s*ADDENDUM\b[ \t:]*", "", part))
        else:
            main.append(part)
    _divide(re.sub(r"^[ \t]*FINAL REPORT[ \t]*$", "", "\n".join(main), flags=re.MULTILINE), found)
    if "findings" not in found and "view" in found:
        found["findings"] = found["view"]
    found.pop("view", None)
    joined = {name: re.sub(r"\s+", " ", " ".join(texts)).strip() for name, texts in found.items()}
    return {name: text for name, text in joined.items() if text}


def _divide(text: str, found: dict[str, list[str]]) -> None:
    current, start = "", 0
    for heading in _HEADING.finditer(text):
        words = heading[1].strip()
        name = _CANONICAL.get(words)
        if name is None and current in ("findings", "impression"):
            continue
        if current:
            found.setdefault(current, []).append(text[start : heading.start()])
        current = name or ("view" if _VIEWS.search(words) else words.lower())
        start = heading.end()
    if current:
        found.setdefault(current, []).append(text[start:])
