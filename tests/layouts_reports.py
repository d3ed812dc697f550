"""Chest X-ray sets with reports, in their official layouts; every patient, number and word in them is made up."""

from pathlib import Path

from making import Layout, save, table, write

FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion"),
    *(
        "Lung Opacity",
        "No Finding",
        "Pleural Effusion",
        "Pleural Other",
        "Pneumonia",
        "Pneumothorax",
        "Support Devices",
    ),
)
MIMIC_REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with cough

 FINDINGS:

 The heart is
 normal. LUNGS:  clear.

 IMPRESSION:

 No acute process.
 ______________________________________________________________________________
 ADDENDUM  Called to Dr. ___.
"""


def mimic_cxr(folder: Path) -> Layout:
    """Invented rows in the credentialed schema: two patients, three images, labels 1, 0, -1 and blank."""
    images = [("a" * 8 + "-1", "50000001", "10000032", "train"), ("b" * 8 + "-2", "50000001", "10000032", "train")]
    images += [("c" * 8 + "-3", "50000002", "11000011", "test"), ("d" * 8 + "-4", "50000003", "11000011", "validate")]
    names = ("dicom_id", "study_id", "subject_id", "split")
    table(folder / "mimic-cxr-2.0.0-split.csv.gz", [dict(zip(names, image)) for image in images], zipped=True)
    views = ["PA", "LATERAL", "AP", ""]
    rows = [{"dicom_id": i[0], "ViewPosition": view, "Rows": "9"} for i, view in zip(images, views)]
    table(folder / "mimic-cxr-2.0.0-metadata.csv.gz", rows, zipped=True)
    blank = dict.fromkeys(FINDINGS, "")
    labelled = [
        {"subject_id": "10000032", "study_id": "50000001"} | blank | {"Edema": "1.0", "Pneumonia": "0.0"},
        {"subject_id": "11000011", "study_id": "50000002"} | blank | {"Fracture": "-1.0", "No Finding": "1.0"},
    ]
    table(folder / "mimic-cxr-2.0.0-chexpert.csv.gz", labelled, zipped=True)
    for seed, (dicom, study, subject, _) in enumerate(images):
        base = folder / "files" / f"p{subject[:2]}" / f"p{subject}"
        save(base / f"s{study}" / f"{dicom}.jpg", seed)
        write(base / f"s{study}.txt", MIMIC_REPORT)
    return "mimic_cxr", folder, {"questions": "both"}


IU_REPORT = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR{uid}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText><AbstractText Label="INDICATION">Positive TB test</AbstractText>
<AbstractText Label="FINDINGS">{findings}</AbstractText><AbstractText Label="IMPRESSION">Normal chest x-XXXX.</AbstractText>
</Abstract></Article></MedlineCitation><MeSH><major>{mesh}</major><automatic>heart</automatic></MeSH>{images}</eCitation>"""


def iu_xray(folder: Path) -> Layout:
    """Reports as XML: two views, no findings, no image."""
    for uid, findings, mesh, views in (
        (1, "The heart &amp; lungs are normal.", "normal", 2),
        (2, "", "Edema/mild", 1),
        (10, "x", "x", 0),
    ):
        names = [f"CXR{uid}_1_IM-0001-{view}001" for view in range(1, views + 1)]
        images = "".join(f'<parentImage id="{name}"><caption>PA and lateral</caption></parentImage>' for name in names)
        report = IU_REPORT.format(uid=uid, findings=findings, mesh=mesh, images=images)
        write(folder / "ecgen-radiology" / f"{uid}.xml", report)
        for seed, name in enumerate(names):
            save(folder / "NLMCXR_png" / f"{name}.png", 10 * uid + seed)
    return "iu_xray", folder, {}


def iu_xray_csv(folder: Path) -> Layout:
    """The collection's CSV form."""
    report = {"uid": "1", "MeSH": "normal", "Problems": "normal", "image": "Chest", "indication": "", "comparison": ""}
    table(folder / "indiana_reports.csv", [report | {"findings": "Clear.", "impression": "Normal."}])
    views = [("1_IM-0001-4001.dcm.png", "Frontal"), ("1_IM-0001-3001.dcm.png", "Lateral")]
    table(folder / "indiana_projections.csv", [{"uid": "1", "filename": n, "projection": p} for n, p in views])
    for seed, (name, _) in enumerate(views):
        save(folder / "images_normalized" / name, seed)
    return "iu_xray", folder, {}
