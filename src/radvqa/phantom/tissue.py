"""What the phantoms are made of: structure names (labels) and tissues (how bright each is under each machine).

Out: STRUCTURES, the names that a label map indexes; TISSUES, one row of physics a tissue.

    STRUCTURES[label_map[y, x]]; HU[tissue_map]
"""

from __future__ import annotations

import numpy as np

FINDINGS = ("nodule", "mass", "effusion", "haemorrhage", "fracture", "stone", "cyst")

STRUCTURES = (
    "background",
    "skin",
    "fat",
    "muscle",
    "skull",
    "jaw",
    "sinus",
    "left eye",
    "right eye",
    "left hemisphere",
    "right hemisphere",
    "ventricles",
    "cerebellum",
    "brainstem",
    "cerebrospinal fluid",
    "spinal cord",
    "spine",
    "ribs",
    "sternum",
    "clavicles",
    "scapulae",
    "left lung",
    "right lung",
    "heart",
    "aorta",
    "vena cava",
    "trachea",
    "oesophagus",
    "liver",
    "spleen",
    "stomach",
    "gallbladder",
    "pancreas",
    "left kidney",
    "right kidney",
    "colon",
    "bowel",
    "bowel gas",
    "pelvis",
    *FINDINGS,
)
"""Names of the labels; `labels` of a phantom index into it. The last seven are the findings."""

ID = {name: number for number, name in enumerate(STRUCTURES)}

# tissue: CT number (HU), MR signal T1-weighted, T2-weighted (1 = brightest), X-ray attenuation (1/mm, about 60 keV),
# amplitude of the small texture relative to the tissue's own contrast (0..1)
_TABLE: dict[str, tuple[float, float, float, float, float]] = {
    "air": (-1000, 0.02, 0.02, 0.0, 0.0),
    "skin": (20, 0.45, 0.35, 0.0200, 0.2),
    "fat": (-100, 0.92, 0.66, 0.0180, 0.35),
    "muscle": (52, 0.36, 0.20, 0.0205, 0.5),
    "cortex": (950, 0.06, 0.05, 0.0520, 0.3),
    "compact": (1150, 0.05, 0.04, 0.0800, 0.2),
    "marrow": (280, 0.62, 0.42, 0.0330, 0.6),
    "disc": (80, 0.30, 0.42, 0.0215, 0.2),
    "lung": (-840, 0.06, 0.07, 0.0050, 0.6),
    "vessel": (45, 0.14, 0.10, 0.0205, 0.2),
    "heart": (48, 0.40, 0.32, 0.0206, 0.3),
    "liver": (58, 0.56, 0.30, 0.0208, 0.5),
    "spleen": (48, 0.40, 0.52, 0.0207, 0.5),
    "kidney": (42, 0.42, 0.60, 0.0207, 0.4),
    "pancreas": (40, 0.50, 0.38, 0.0205, 0.7),
    "bile": (10, 0.24, 0.92, 0.0201, 0.1),
    "wall": (42, 0.38, 0.30, 0.0204, 0.3),
    "content": (22, 0.34, 0.58, 0.0202, 0.8),
    "gas": (-960, 0.02, 0.02, 0.0002, 0.0),
    "csf": (6, 0.13, 0.97, 0.0200, 0.1),
    "grey": (38, 0.48, 0.60, 0.0204, 0.3),
    "white": (27, 0.70, 0.42, 0.0203, 0.3),
    "eye": (12, 0.16, 0.94, 0.0201, 0.1),
    "cord": (36, 0.50, 0.46, 0.0203, 0.2),
    "calcium": (320, 0.10, 0.08, 0.0380, 0.2),
    "nodule": (42, 0.48, 0.66, 0.0212, 0.2),
    "mass": (100, 0.22, 0.80, 0.0225, 0.9),
    "necrosis": (24, 0.14, 0.94, 0.0205, 0.6),
    "oedema": (16, 0.36, 0.80, 0.0203, 0.3),
    "fluid": (10, 0.22, 0.96, 0.0206, 0.1),
    "blood": (74, 0.90, 0.16, 0.0206, 0.5),
    "stone": (900, 0.03, 0.02, 0.0620, 0.3),
    "cyst": (0, 0.12, 1.00, 0.0201, 0.05),
}
TISSUES = tuple(_TABLE)
T = {name: number for number, name in enumerate(TISSUES)}
HU, T1, T2, MU, TEXTURE = (np.array(column, dtype=np.float32) for column in zip(*_TABLE.values(), strict=True))

ENHANCED = {"vessel": 130, "heart": 95, "liver": 48, "spleen": 70, "kidney": 75, "pancreas": 50, "wall": 40, "mass": 65}
"""HU that intravenous contrast medium adds."""
