"""Small data sets in the official layouts, quirks included, for tests of the loaders.

name, path, options = LAYOUTS["slake"](tmp_path); import_corpus(name, path, out, options=options)
"""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from layouts_reports import iu_xray, iu_xray_csv, mimic_cxr
from layouts_tables import (
    huggingface_arrow,
    huggingface_parquet,
    llava,
    table_csv,
    table_json,
    table_jsonl,
    table_parquet,
    table_tsv,
    vlmevalkit,
)
from making import Layout, picture, png, save, table, write

# ---------------------------------------------------------------- SLAKE


def slake_record(qid: int, image: int, question: str, answer: str, **changes: Any) -> dict[str, Any]:
    record = {
        "img_id": image,
        "img_name": f"xmlab{image}/source.jpg",
        "question": question,
        "answer": answer,
        "q_lang": "en",
        "location": "Abdomen",
        "modality": "MRI",
        "answer_type": "OPEN",
        "base_type": "vqa",
        "content_type": "Organ",
        "triple": ["vhead", "_", "_"],
        "qid": qid,
    }
    return record | changes


def slake(folder: Path) -> Layout:
    """Three splits, two languages, one empty answer; boxes and a mask on image 1, an empty detection.json on 2."""
    plane = {"content_type": "Plane"}
    train = [
        slake_record(0, 1, "Does the picture contain liver?", "Yes", answer_type="CLOSED"),
        slake_record(1, 1, "Where is the left kidney?", "Upper left", content_type="Position"),
        slake_record(2, 1, "In what plane is it?", "Transverse  Plane", **plane),
        slake_record(3, 2, "图中有肝脏吗?", "包含", q_lang="zh"),
        slake_record(4, 2, "Does the picture contain liver?", ""),
    ]
    test = dict(reversed(list(slake_record(9, 3, "Which lobe?", "Left", location="Chest_lung").items())))
    write(folder / "train.json", json.dumps(train, ensure_ascii=False))
    write(folder / "validation.json", json.dumps([slake_record(5, 2, "What is it for?", "Food", content_type="KG")]))
    write(folder / "test.json", json.dumps([test | {"modality": "X-Ray"}]))
    write(folder / "mask.txt", "1:Liver\n2:Kidney\n3:Left Kidney\n")
    for image in (1, 2, 3):
        save(folder / "imgs" / f"xmlab{image}" / "source.jpg", image)
    write(folder / "imgs/xmlab1/detection.json", '[{"Liver": [1.0, 2.0, 3.0, 2.0]}, {"Kidney": [0.0, 0.0, 1.0, 1.0]}]')
    write(folder / "imgs/xmlab2/detection.json", "[]")
    labels = np.zeros((6, 8), dtype=np.uint8)
    labels[0:2, 0:4], labels[3:5, 0:2], labels[3:5, 5:8] = 1, 2, 3
    Image.fromarray(labels).save(folder / "imgs/xmlab1/mask.png")
    return "slake", folder, {"languages": ["en", "zh"]}


# ---------------------------------------------------------------- VQA-RAD


def rad_record(qid: int | str, image: str, question: str, answer: Any, **changes: Any) -> dict[str, Any]:
    record = {
        "qid": qid,
        "phrase_type": "freeform",
        "qid_linked_id": f"link-{qid}",
        "image_case_url": f"https://medpix.nlm.nih.gov/case?id=case-{image}",
        "image_name": f"{image}.jpg",
        "image_organ": "CHEST",
        "evaluation": "evaluated",
        "question": question,
        "question_rephrase": "NULL",
        "question_relation": "NULL",
        "question_frame": "NULL",
        "question_type": "PRES",
        "answer": answer,
        "answer_type": "CLOSED",
    }
    return record | changes


RAD = [
    rad_record("0", "synpic1", "Is it large?", "Yes"),
    rad_record(1, "synpic1", "How many?", 4, answer_type="OPEN", question_type="COUNT"),
    rad_record(2, "synpic2", "Is it there?", "NO", answer_type="CLOSED ", question_type="PRSE"),
    rad_record(3, "synpic3", "Where?", "left, upper", answer_type="OPEN", question_type="POS, PRES", image_organ="ABD"),
    rad_record(4, "synpic1", "Is it not?", "no", phrase_type="test_freeform", image_organ="HEAD"),
    rad_record(5, "synpic4", "Which?", "MRI", phrase_type="test_para", question_type="MODALITY", answer_type="OPEN"),
]


def vqa_rad(folder: Path) -> Layout:
    """Six official rows: a qid that is text, an integer answer, 'CLOSED ', a compound type, a typo."""
    records = [dict(record) for record in RAD]
    del records[3]["question_rephrase"]
    write(folder / "VQA_RAD Dataset Public.json", json.dumps(records, indent=1))
    for seed in (1, 2, 3, 4):
        save(folder / "VQA_RAD Image Folder" / f"synpic{seed}.jpg", seed)
    return "vqa_rad", folder, {}


def vqa_rad_mevf(folder: Path) -> Layout:
    """The same six rows, numbered anew with one frame row among them."""
    kept = ("image_name", "image_organ", "answer", "answer_type", "question_type", "question", "phrase_type")
    rows = [{key: record[key] for key in kept} for record in RAD]
    rows.insert(2, rows[0] | {"question": "Is this image normal?", "phrase_type": "frame"})
    rows = [row | {"qid": place} for place, row in enumerate(rows, 1)]
    test = [row | {"phrase_type": row["phrase_type"][5:]} for row in rows if row["phrase_type"].startswith("test")]
    train = [row for row in rows if not row["phrase_type"].startswith("test")]
    write(folder / "trainset.json", json.dumps(train[::-1]))
    write(folder / "testset.json", json.dumps(test))
    for seed in (1, 2, 3, 4):
        save(folder / "images" / f"synpic{seed}.jpg", seed)
    return "vqa_rad", folder, {}


def vqa_rad_hf(folder: Path) -> Layout:
    """The Hugging Face export: lower case, a picture a row, back-slashes."""
    for split, numbers in (("train", range(4)), ("test", range(4, 6))):
        rows = []
        for place, number in enumerate(numbers):
            name = f"images\\{split}\\image_{place:05d}.jpg"
            save(folder / name.replace("\\", "/"), number)
            rows.append(
                {
                    "image_path": name,
                    "question": str(RAD[number]["question"]).lower(),
                    "answer": str(RAD[number]["answer"]).lower(),
                    "question_type": "YESNO",
                    "answer_type": str(RAD[number]["answer_type"]).strip(),
                }
            )
        write(folder / f"{split}.json", json.dumps(rows))
    return "vqa_rad", folder, {}


# ---------------------------------------------------------------- the others


def vqa_med(folder: Path) -> Layout:
    """Official texts: alternatives, optional parts, categories in a folder of their own."""
    train = folder / "ImageClef-2019-VQA-Med-Training"
    lines = ["synpic1|what kind of image is this?|cta - ct angiography", "synpic1|in what plane?|axial"]
    write(train / "All_QA_Pairs_train.txt", "\n".join(lines) + "\n")
    write(train / "QAPairsByCategory/C1_Modality_train.txt", lines[0] + "\n")
    write(train / "QAPairsByCategory/C2_Plane_train.txt", lines[1] + "\n")
    val = folder / "ImageClef-2019-VQA-Med-Validation"
    write(val / "All_QA_Pairs_val.txt", "synpic2|is this an mri?|no\r\n")
    test = folder / "VQAMed2019Test"
    answers = (
        "synpic3|abnormality|what is most alarming about this ct scan?|(angioinvasive aspergillosis with) septic emboli"
    )
    write(test / "VQAMed2019_Test_Questions_w_Ref_Answers.txt", answers + "\nsynpic3|organ|what organ?|skull#spine\n")
    save(train / "Train_images/synpic1.jpg", 1)
    save(val / "Val_images/synpic2.jpg", 2)
    save(test / "VQAMed2019_Test_Images/synpic3.jpg", 3)
    return "vqa_med", folder, {}


def pmc_row(figure: str, choices: list[str], answer: str, **more: str) -> dict[str, str]:
    row = {"Figure_path": figure, "Question": " What is shown? "}
    row |= {f"Choice {letter}": choice for letter, choice in zip("ABCD", choices)}
    return row | {"Answer": answer} | more


def pmc_vqa_v1(folder: Path) -> Layout:
    """Version 1: the answer in words and as a letter; a clean test beside the whole one."""
    labelled = [" A: CT ", " B:MRI", "C: vitamin A: low", "  D: none "]
    train = [
        pmc_row("PMC1_Fig1_1.jpg", labelled, "MRI", Answer_label="B"),
        pmc_row("PMC1_Fig2_1.jpg", labelled, "vitamin A: low", Answer_label="C"),
        pmc_row("PMC2_Fig1_1.jpg", ["A: x", "", "C: y", "D: z"], "x", Answer_label="A"),
        pmc_row("PMC3_Fig1_1.jpg", ["A: bacterium", "virus", "fungus", "worm"], "A: bacterium", Answer_label=""),
    ]
    test = [pmc_row("PMC9_Fig1_1.jpg", labelled, "CT", Answer_label="A")] * 3
    table(folder / "train.csv", train)
    table(folder / "test.csv", test)
    table(folder / "test_clean.csv", test[:1])
    for seed, name in enumerate(["PMC1_Fig1_1", "PMC1_Fig2_1", "PMC3_Fig1_1", "PMC9_Fig1_1"]):
        save(folder / "images" / f"{name}.jpg", seed)
    return "pmc_vqa", folder, {}


def pmc_vqa_v2(folder: Path) -> Layout:
    """Version 2: an index column without a name, captions, the answer as a letter."""
    labelled = [" A: CT ", " B:MRI", "C:vitamin A: low", "D: none"]
    for split, file in (("train", "train_2.csv"), ("test", "test_2.csv")):
        row = pmc_row(f"PMC{len(split)}_Fig1_1.jpg", labelled, "C", split=split)
        table(folder / file, [{"": "0", "Caption": "Axial CT, with vitamin"} | row])
        save(folder / "figures" / row["Figure_path"], len(split))
    return "pmc_vqa", folder, {}


def rocov2(folder: Path) -> Layout:
    """Captions with commas and accents, manual concepts that may be empty, names and licences."""
    for split, seed in (("train", 1), ("valid", 2), ("test", 3)):
        ids = [f"ROCOv2_2023_{split}_00000{place}" for place in (1, 2)]
        captions = ["CT, façade of the pelvis", "Chest X-ray"]
        table(folder / f"{split}_captions.csv", [{"ID": i, "Caption": c} for i, c in zip(ids, captions)])
        cuis = ["C0040405;C0030797;C0006826", "C1306645"]
        table(folder / f"{split}_concepts.csv", [{"ID": i, "CUIs": c} for i, c in zip(ids, cuis)])
        manual = ["C0040405;C0030797", ""]
        table(folder / f"{split}_concepts_manual.csv", [{"ID": i, "CUIs": c} for i, c in zip(ids, manual)])
        for place, name in enumerate(ids):
            save(folder / f"{split}_images" / split / f"{name}.jpg", 10 * seed + place)
    table(folder / "cui_mapping.csv", [{"CUI": "C0006826", "Canonical name": "Malignant Neoplasms"}])
    licence = {"PMCID": "PMC1", "Attribution": "CC BY A. Author", "Link": "https://example.org/1"}
    table(folder / "license_information.csv", [{"ID": "ROCOv2_2023_train_000001"} | licence])
    return "rocov2", folder, {"questions": "both"}


def roco(folder: Path) -> Layout:
    """Version 1: tabs, a blank before the caption, an image without keywords, another group."""
    for split in ("train", "validation", "test"):
        base = folder / "data" / split / "radiology"
        write(base / "captions.txt", "ROCO_00001\t Axial CT of the pelvis.\nROCO_00002\t \nROCO_00003\tMRI and CT.\n")
        write(base / "cuis.txt", "ROCO_00001\t\tC1\tC2\nROCO_00003\t\n")
        write(base / "keywords.txt", "ROCO_00001\t\tpelvi\n")
        write(
            base / "licences.txt", "ROCO_ID,PMC_ID,CC\nROCO_00001,PMC1_a_b.jpg,CC BY\nROCO_00003,PMC2_c.jpg,CC BY-NC\n"
        )
        for place in (1, 3):
            save(base / "images" / f"ROCO_0000{place}.jpg", place + len(split))
    write(folder / "data/train/non-radiology/captions.txt", "ROCO_00009\t A chart.\n")
    save(folder / "data/train/non-radiology/images/ROCO_00009.jpg", 99)
    return "roco", folder, {}


def medpix_description(case: str, image: str, **changes: Any) -> dict[str, Any]:
    about = {
        "ACR Codes": "8.-1",
        "Age": "73",
        "Caption": f"Caption of {image}",
        "Figure Part": None,
        "Modality": "CT - noncontrast",
        "Plane": "Axial",
        "Sex": "male",
    }
    record = {"Type": "CT", "U_id": case, "image": image, "Description": about | changes.pop("about", {})}
    return record | {"Location": "Genitourinary", "Location Category": "Head"} | changes


def medpix(folder: Path) -> Layout:
    """Four training cases, one dev, one test; dirty modalities and planes, a placeholder caption, RGBA."""
    train = [
        medpix_description("MPX1", "MPX1_synpic1"),
        medpix_description("MPX1", "MPX1_synpic2", about={"Plane": "Transverse", "Caption": None}),
        medpix_description("MPX2", "MPX2_synpic3", Type="MR", about={"Modality": " MR - Montage of Images"}),
        medpix_description("MPX3", "MPX3_synpic4", about={"Modality": "Drawing", "Plane": None}),
        medpix_description(
            "MPX4", "MPX4_synpic5", Type="MR", about={"Modality": "MRI", "Plane": "NOS - Not specified"}
        ),
    ]
    train[3]["Description"]["Caption"] = "Replace this - DESCRIPTION OF THE IMAGE OR FINDINGS."
    train[4]["Location Category"] = "Thorax"
    others = {
        "dev": [medpix_description("MPX8", "MPX8_synpic8")],
        "test": [medpix_description("MPX9", "MPX9_synpic9")],
    }
    for split, records in ({"train": train} | others).items():
        base = folder / "splitted_dataset"
        write(base / f"descriptions_{split}.jsonl", "".join(json.dumps(record) + "\n" for record in records))
        cases = dict.fromkeys(record["U_id"] for record in records)
        topics = [{"U_id": case, "Case": {"Title": "t"}, "Topic": {"Title": f"Disease {case}"}} for case in cases]
        write(base / f"data_{split}.jsonl", "".join(json.dumps(topic) + "\n" for topic in topics))
        for record in records:
            (folder / "images").mkdir(exist_ok=True)
            mode = "RGBA" if record["image"].endswith("3") else "RGB"
            picture(int(record["image"][-1])).convert(mode).save(folder / "images" / f"{record['image']}.png")
    return "medpix", folder, {}


PATH_ROWS = [
    {"image": "train_0422", "question": "What is present?", "answer": "liver"},
    {"image": "train_0422", "question": "Is it normal?", "answer": "Yes"},
    {"image": "train_0001", "question": "Where?", "answer": ""},
]


def path_vqa(folder: Path) -> Layout:
    """The authors' pickles."""
    for word in ("train", "val", "test"):
        base = folder / "qas" / word
        base.mkdir(parents=True)
        (base / f"{word}_qa.pkl").write_bytes(pickle.dumps(PATH_ROWS))
        save(folder / "images" / word / "train_0422.jpg", len(word))
    return "path_vqa", folder, {}


def path_vqa_parquet(folder: Path) -> Layout:
    """The Hugging Face export, pictures inside."""
    for split in ("train", "validation", "test"):
        image = {"bytes": png(len(split)), "path": "0.png"}
        rows = [{"image": image, "question": row["question"], "answer": row["answer"]} for row in PATH_ROWS[:2]]
        (folder / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / "data" / f"{split}-00000-of-00001-abc.parquet")
    return "path_vqa", folder, {}


def path_vqa_json(folder: Path) -> Layout:
    """An export with back-slashes whose test is validation and test together."""
    for split in ("train", "test"):
        rows = [{"image_path": f"images\\{split}\\0.jpg", "question": "What?", "answer": "no"}]
        write(folder / f"{split}.json", json.dumps(rows))
        save(folder / "images" / split / "0.jpg", len(split))
    return "path_vqa", folder, {"splits": ["train", "test"]}


LAYOUTS: dict[str, Callable[[Path], Layout]] = {
    function.__name__: function
    for function in (
        slake,
        vqa_rad,
        vqa_rad_mevf,
        vqa_rad_hf,
        vqa_med,
        pmc_vqa_v1,
        pmc_vqa_v2,
        rocov2,
        roco,
        medpix,
        mimic_cxr,
        iu_xray,
        iu_xray_csv,
        path_vqa,
        path_vqa_parquet,
        path_vqa_json,
        table_csv,
        table_tsv,
        table_jsonl,
        table_json,
        table_parquet,
        huggingface_parquet,
        huggingface_arrow,
        llava,
        vlmevalkit,
    )
}
