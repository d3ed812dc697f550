"""The findings that radiological captions speak of: one name, the words for it, and its UMLS concepts.

In: nothing. Out: LEXICON, name -> Entry. Words are regular expressions that stand between word boundaries; what contains
another finding's words (pulmonary embolism, pleural effusion) comes first and takes them.

    LEXICON["pleural effusion"].cuis  # ("C0032227",)
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    words: str
    cuis: tuple[str, ...] = ()


LEXICON = {
    "pulmonary embolism": Entry(r"pulmonary (?:artery )?(?:embol\w+|thromboembol\w+)", ("C0034065",)),
    "pleural effusion": Entry(r"(?:pleural|pericardial and pleural) effusions?|hydrothorax", ("C0032227",)),
    "pericardial effusion": Entry(r"pericardial effusions?|hemopericardium", ("C0031039",)),
    "joint effusion": Entry(r"(?:joint|knee|suprapatellar|hip|elbow) effusions?"),
    "pneumothorax": Entry(r"(?:hydro|hemo)?pneumothora(?:x|ces)", ("C0032326",)),
    "pneumoperitoneum": Entry(r"pneumoperitoneum|free (?:intraperitoneal )?air", ("C0032320",)),
    "pneumonia": Entry(r"(?:broncho)?pneumonias?", ("C0032285",)),
    "consolidation": Entry(r"(?:air ?space )?consolidations?|infiltrates?", ("C0521530", "C1261077")),
    "ground-glass opacity": Entry(r"ground[- ]glass (?:opaci\w+|attenuation|appearance|changes?|infiltrates?)"),
    "atelectasis": Entry(r"atelecta\w+|(?:lobar|lobe|lung) collapse", ("C0004144",)),
    "emphysema": Entry(r"emphysem\w+|bullae?", ("C0034067",)),
    "bronchiectasis": Entry(r"bronchiecta\w+", ("C0006267",)),
    "fibrosis": Entry(r"fibrosis|fibrotic", ("C0016059",)),
    "cardiomegaly": Entry(r"cardiomegaly|enlarged (?:heart|cardiac silhouette)", ("C0018800",)),
    "pulmonary edema": Entry(r"pulmonary o?edema", ("C0034063",)),
    "lymphadenopathy": Entry(r"(?:lymph)?adenopath\w+|enlarged (?:\w+ )?(?:lymph )?nodes?", ("C0497156",)),
    "meningioma": Entry(r"meningiomas?", ("C0025286",)),
    "glioma": Entry(r"gliomas?|glioblastomas?|astrocytomas?|oligodendrogliomas?|ependymomas?", ("C0017638",)),
    "schwannoma": Entry(r"schwannomas?|(?:acoustic )?neuromas?", ("C0027809",)),
    "lymphoma": Entry(r"lymphomas?", ("C0024299",)),
    "lipoma": Entry(r"(?:myelo|angiomyo)?lipomas?", ("C0023798",)),
    "hemangioma": Entry(r"ha?emangiomas?|cavernomas?|cavernous (?:angiomas?|malformations?)", ("C0018916",)),
    "carcinoma": Entry(r"(?:adeno)?carcinomas?|cancers?", ("C0007097",)),
    "sarcoma": Entry(r"\w*sarcomas?", ("C1261473",)),
    "metastasis": Entry(r"metasta\w+", ("C0027627",)),
    "abscess": Entry(r"abscess(?:es)?|empyema", ("C0000833",)),
    "cyst": Entry(r"(?:pseudo)?cysts?|cystic (?:lesions?|mass(?:es)?|components?|spaces?)|syrinx", ("C0010709",)),
    "nodule": Entry(r"(?:micro)?nodul(?:es?|ar)", ("C0028259",)),
    "mass": Entry(r"mass(?:es)?(?! effect)|tumou?rs?|neoplas\w+", ("C0577559", "C0027651")),
    "mass effect": Entry(r"mass effect|midline shift|herniation of the (?:cerebell|uncus)\w*"),
    "hemorrhage": Entry(r"(?:micro)?ha?emorrhag\w+|ha?ematomas?|bleed(?:ing)?", ("C0019080", "C0018944")),
    "infarct": Entry(r"infarct\w*|(?:ischa?emic )?strokes?", ("C0021308",)),
    "aneurysm": Entry(r"(?:pseudo)?aneurysm\w*", ("C0002940",)),
    "dissection": Entry(r"dissections?|intimal flap", ("C0012737",)),
    "thrombosis": Entry(r"thromb(?:us|i|osis|osed|oses)|filling defects?", ("C0040053", "C0087086")),
    "stenosis": Entry(r"stenos[ie]s|stenotic|strictures?|narrowing", ("C1261287",)),
    "occlusion": Entry(r"occlu(?:sion|ded)", ("C0028790",)),
    "arteriovenous malformation": Entry(r"arteriovenous malformations?|avms?", ("C0003857",)),
    "hydrocephalus": Entry(r"hydrocephal\w+|ventriculomegaly|dilat\w+ (?:of the )?(?:\w+ )?ventricles?", ("C0020255",)),
    "hydronephrosis": Entry(r"(?:hydro(?:uretero)?nephrosis|hydroureter\w*)", ("C0020295",)),
    "stone": Entry(r"calcul(?:us|i)|stones?|(?:chole|nephro|uro)lithiasis|appendicoliths?", ("C0006736",)),
    "bowel obstruction": Entry(r"(?:bowel|intestinal|colonic|duodenal) obstruction|ileus|volvulus|intussusception", ("C0021843",)),
    "appendicitis": Entry(r"appendicitis", ("C0003615",)),
    "pancreatitis": Entry(r"pancreatitis", ("C0030305",)),
    "ascites": Entry(r"ascit\w+|free (?:pelvic |peritoneal )?fluid", ("C0003962",)),
    "hernia": Entry(r"hernias?|herniations?|herniated", ("C0019270",)),
    "fistula": Entry(r"fistulas?|fistulae|sinus tracts?", ("C0016169",)),
    "fracture": Entry(r"fractur\w+", ("C0016658",)),
    "dislocation": Entry(r"(?:sub)?dislocat\w+|(?:sub)?luxat\w+|spondylolisthesis", ("C0012691",)),
    "tear": Entry(r"(?:ligament|tendon|meniscal|labral|rotator cuff|cruciate|partial|complete)[\w ]{0,20}(?:tears?|ruptures?)", ("C0043246",)),
    "osteomyelitis": Entry(r"osteomyelitis|spondylodiscitis|discitis", ("C0029443",)),
    "lytic lesion": Entry(r"(?:osteo)?lytic|radiolucen\w+|bone? (?:destruction|erosions?)"),
    "sclerosis": Entry(r"(?:bony |bone )?scleros(?:is|ed)|sclerotic", ("C0036429",)),
    "edema": Entry(r"(?:vasogenic |marrow |bone |cerebral )?o?edema\w*|swelling", ("C0013604",)),
    "calcification": Entry(r"(?:micro)?calcifi\w+", ("C0006660", "C0006663")),
    "wall thickening": Entry(r"(?:wall|pleural|septal|cortical|mucosal|diffuse) thicken\w+|thickened (?:\w+ )?wall"),
    "dilatation": Entry(r"dilat(?:ed|ion|ation)|ectasia", ("C0012359",)),
    "atrophy": Entry(r"atroph\w+|volume loss|encephalomalacia", ("C0333641",)),
    "enhancement": Entry(r"(?:rim|ring|peripheral|homogeneous\w*|heterogeneous\w*|avid\w*|abnormal|intense\w*)[- ]enhanc\w+"),
}  # fmt: skip
