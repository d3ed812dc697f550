"""One small set of questions as every kind of table, and as Hugging Face folders."""

import base64
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from making import Layout, png, save, table, write

TABLE_ROWS = [
    {"q": "Is it large?", "a": "Yes", "file": "a.png", "opt": "", "part": "train", "who": "p1"},
    {"q": "Which, then?", "a": "B", "file": "b.png", "opt": "ct|mr", "part": "val", "who": "p2"},
    {"q": "What is shown?", "a": "a mass", "file": "sub/c.png", "opt": "", "part": "test", "who": "p3"},
]
TABLE_COLUMNS = {"question": "q", "answer": "a", "image": "file", "choices": "opt", "split": "part", "subject": "who"}


def _pictures(folder: Path) -> None:
    for seed, name in enumerate(["a.png", "b.png", "sub/c.png"]):
        save(folder / name, seed)


def table_csv(folder: Path) -> Layout:
    _pictures(folder)
    table(folder / "mine.csv", TABLE_ROWS)
    return "table", folder / "mine.csv", {"columns": TABLE_COLUMNS}


def table_tsv(folder: Path) -> Layout:
    _pictures(folder)
    lines = ["\t".join(TABLE_ROWS[0]), *("\t".join(row.values()) for row in TABLE_ROWS)]
    (folder / "mine.tsv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    return "table", folder / "mine.tsv", {"columns": TABLE_COLUMNS}


def table_jsonl(folder: Path) -> Layout:
    _pictures(folder)
    write(folder / "mine.jsonl", "".join(json.dumps(row) + "\n" for row in TABLE_ROWS))
    return "table", folder / "mine.jsonl", {"columns": TABLE_COLUMNS}


def table_json(folder: Path) -> Layout:
    _pictures(folder)
    write(folder / "mine.json", json.dumps(TABLE_ROWS, indent=2))
    return "table", folder / "mine.json", {"columns": TABLE_COLUMNS}


def table_parquet(folder: Path) -> Layout:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row | {"file": png(seed)} for seed, row in enumerate(TABLE_ROWS)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "mine.parquet")
    return "table", folder / "mine.parquet", {"columns": TABLE_COLUMNS}


HF_COLUMNS = {"question": "q", "answer": "a", "image": "file", "choices": "opt", "subject": "who"}


def huggingface_parquet(folder: Path) -> Layout:
    """A file a split, the Image feature, choices as a list."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (word, row) in enumerate(zip(("train", "validation", "test"), TABLE_ROWS)):
        options = row["opt"].split("|") if row["opt"] else []
        record = row | {"file": {"bytes": png(seed), "path": None}, "opt": options}
        pq.write_table(pa.Table.from_pylist([record]), folder / f"{word}-00000-of-00001.parquet")
    return "huggingface", folder, {"columns": HF_COLUMNS}


def huggingface_arrow(folder: Path) -> Layout:
    """What `save_to_disk` writes."""
    for seed, (word, row) in enumerate(zip(("train", "validation", "test"), TABLE_ROWS)):
        record = row | {"file": {"bytes": png(seed), "path": None}, "opt": row["opt"].split("|") if row["opt"] else []}
        data = pa.Table.from_pylist([record])
        (folder / word).mkdir(parents=True)
        file = str(folder / word / "data-00000-of-00001.arrow")
        with pa.OSFile(file, "wb") as sink, pa.ipc.new_stream(sink, data.schema) as writer:
            writer.write_table(data)
    return "huggingface", folder, {"columns": HF_COLUMNS}


LLAVA_TURNS = [
    [("<image>\nIs it large?", "Yes"), ("What is shown?", "a mass")],
    [("Which plane is it?\n<image>", "axial")],
]


def llava(folder: Path) -> Layout:
    """Two records, the first of two questions, in one file; a split of its own in another."""
    records = []
    for seed, turns in enumerate(LLAVA_TURNS):
        save(folder / "images" / f"{seed}.png", seed)
        said = [{"from": who, "value": text} for turn in turns for who, text in zip(("human", "gpt"), turn)]
        records.append({"id": f"r{seed}", "image": f"images/{seed}.png", "conversations": said, "domain": {"ct": True}})
    write(folder / "train.json", json.dumps(records, indent=2))
    write(folder / "val.json", json.dumps([records[1]]).replace("r1", "r2"))
    return "llava", folder, {}


def vlmevalkit(folder: Path) -> Layout:
    """A picture in base64, one named by its row, one file; a choice question and two others."""
    folder.mkdir(parents=True, exist_ok=True)
    first, second = (base64.b64encode(png(seed)).decode() for seed in (0, 1))
    head = ["index", "image", "question", "A", "B", "answer", "category", "l2-category"]
    rows = [["0", first, "Which is it?", "CT", "MR", "B", "modality", "x"]]
    rows += [["1", "0", "Is it axial?", "", "", "Yes", "plane", "y"], ["5", second, "Seen?", "", "", "a mass", "", ""]]
    write(folder / "bench.tsv", "\n".join("\t".join(row) for row in [head, *rows]) + "\n")
    return "vlmevalkit", folder / "bench.tsv", {}
