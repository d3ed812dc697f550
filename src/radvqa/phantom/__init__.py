"""A procedural radiology generator whose truth is known: pictures, labels, findings with exact masks, questions.

In: a seed and an index. Out: a Phantom, its captions, dense labels and questions.

    from radvqa.phantom import phantom, questions
    picture = phantom(seed=0, index=3)
    print(picture.caption, [sample.question for sample in questions(picture)])
"""

from radvqa.phantom.captions import captions, describe, layout
from radvqa.phantom.questions import ANSWERS, questions
from radvqa.phantom.scene import BLOCK, Finding, Phantom, phantom, subject_of
from radvqa.phantom.stream import phantoms
from radvqa.phantom.tissue import FINDINGS, STRUCTURES

__all__ = [
    "ANSWERS",
    "BLOCK",
    "FINDINGS",
    "STRUCTURES",
    "Finding",
    "Phantom",
    "captions",
    "describe",
    "layout",
    "phantom",
    "phantoms",
    "questions",
    "subject_of",
]
