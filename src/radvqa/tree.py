"""YAML text to a plain tree of dictionaries and lists, with overrides and environment variables put in.

In: a file and `key.sub=value` texts. Out: plain values; nothing is built but dictionaries, lists, text and numbers.

    tree = expand(read(Path("recipes/demo.yaml"), ["adapt.rank=8"]), ("data",), Path("recipes/demo.yaml"))
"""

from __future__ import annotations

import copy
import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from radvqa.errors import InputError


def read(file: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file, changed by overrides such as `stages.stage2.lr=1e-4`.

    An override's value is YAML; a list item is named by its number, its `name` or its `corpus`, and `null` takes a
    stage, a source or any other section out of its list. Raises InputError naming the file and the line or key.
    """
    try:
        tree = parse(file.read_text(encoding="utf-8"), file)
    except OSError as error:
        raise InputError(f"the recipe cannot be read ({error.strerror})", file=file) from error
    except UnicodeDecodeError as error:
        raise InputError("the recipe is not UTF-8 text", file=file) from error
    if not isinstance(tree, dict):
        raise InputError(f"a recipe is a mapping of keys, found {type(tree).__name__}", file=file)
    for override in overrides:
        _override(tree, override, file)
    return tree


def changed(tree: dict[str, Any], overrides: Sequence[str], file: Path | None = None) -> dict[str, Any]:
    """A copy of the tree with overrides put in."""
    tree = copy.deepcopy(tree)
    for override in overrides:
        _override(tree, override, file)
    return tree


def assigned(texts: Sequence[str]) -> dict[str, Any]:
    """The tree that `key.sub=value` texts spell out on their own, such as the options of a data set."""
    tree: dict[str, Any] = {}
    for text in texts:
        _override(tree, text, None)
    return tree


def dump(tree: dict[str, Any]) -> str:
    """The tree as YAML that `read`, and any YAML 1.1 or 1.2 reader, reads back to the same values."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def one_of(found: str, allowed: Sequence[str]) -> str:
    """What to do about a name that is not allowed: the nearest that is, and all that are."""
    close = difflib.get_close_matches(found, allowed, n=1)
    return (f"did you mean {close[0]}? " if close else "") + "allowed: " + ", ".join(allowed)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: 1e-5 is a number; yes, no, on, off and dates are text. A key given twice is an error."""


class _Dumper(yaml.SafeDumper):
    """Text that either version of YAML would take for a number or a truth value is written in quotes."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|false|False", "tTfF"),
    ("null", r"~|null|Null|", "~nN\0"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    for _one in (_Loader, _Dumper):
        _start = ["" if c == "\0" else c for c in _first]
        _one.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _start)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen and key.value != "<<":
            raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is given twice", key.start_mark)
        seen.add(key.value)
    loader.flatten_mapping(node)
    return {str(loader.construct_object(k, deep=True)): loader.construct_object(v, deep=True) for k, v in node.value}


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(node.value)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


def parse(text: str, file: Path | None = None, key: str | None = None) -> Any:
    """The plain value of YAML text; InputError with the line where it is none."""
    try:
        return yaml.load(text, _Loader)  # a SafeLoader: it builds plain values only
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"not YAML: {problem}", file=file, row=mark.line + 1 if mark else None, key=key) from None


def _override(tree: dict[str, Any], override: str, file: Path | None) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key or not all(key.split(".")):
        raise InputError(f"found {override!r}", file=file, fix="an override is written key.sub=value")
    *path, last = key.split(".")
    at: Any = tree
    for depth, name in enumerate(path):
        at = _child(at, name, ".".join(path[: depth + 1]), file)
    value = parse(text, file, key)
    if isinstance(at, list):
        place = _position(at, last, key, file)
        if value is None and isinstance(at[place], dict):
            del at[place]
        else:
            at[place] = value
    else:
        at[last] = value


def _child(at: dict[str, Any] | list[Any], name: str, key: str, file: Path | None) -> dict[str, Any] | list[Any]:
    if isinstance(at, list):
        found = at[_position(at, name, key, file)]
    else:
        if at.get(name) is None:
            at[name] = {}
        found = at[name]
    if not isinstance(found, (dict, list)):
        raise InputError(f"found {found!r}, which has no keys below it", file=file, key=key)
    return found


def _position(items: list[Any], name: str, key: str, file: Path | None) -> int:
    names = [item.get("name", item.get("corpus")) if isinstance(item, dict) else None for item in items]
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < len(items):
        return int(name)
    known = [str(n) for n in names if n is not None] or [str(i) for i in range(len(items))]
    raise InputError(f"there is no item {name!r} here", file=file, key=key, fix=one_of(name, known))


def expand(tree: Any, keys: Sequence[str], file: Path, key: str = "") -> Any:
    """${VAR} from the environment and a leading ~ put in wherever a value lies at or under one of the keys.

    Raises InputError for a variable that is not set.
    """
    if isinstance(tree, dict):
        return {name: expand(value, keys, file, f"{key}.{name}".lstrip(".")) for name, value in tree.items()}
    if isinstance(tree, list):
        return [expand(value, keys, file, f"{key}.{i}") for i, value in enumerate(tree)]
    if not isinstance(tree, str) or not any(key == one or key.startswith(one + ".") for one in keys):
        return tree
    for variable in re.findall(r"\$\{(\w+)\}", tree):
        if not os.environ.get(variable):
            raise InputError(
                f"the environment variable {variable} is not set",
                file=file,
                key=key,
                fix=f"set it (export {variable}=...) or give the value itself ({key}=...)",
            )
        tree = tree.replace(f"${{{variable}}}", os.environ[variable])
    return os.path.expanduser(tree) if tree.startswith("~") else tree  # noqa: PTH111 - it stays text
