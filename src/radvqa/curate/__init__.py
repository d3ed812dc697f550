"""Curation: what is in a corpus twice, and what two corpora share.

In: corpus folders. Out: tables of pairs, contact sheets of them, and training questions with the leaks taken out.

    from radvqa.curate import leakage
    print(leakage(Corpus("corpora/vqa_rad"), Corpus("corpora/medpix")))
"""

from radvqa.curate.duplicates import duplicates
from radvqa.curate.leakage import enforce, leakage

__all__ = ["duplicates", "enforce", "leakage"]
