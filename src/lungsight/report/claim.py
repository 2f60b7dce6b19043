"""Two reporting checklists, filled in as far as a run knows, the rest marked open.

CLAIM: Tejani et al., Radiology: Artificial Intelligence 2024, doi:10.1148/ryai.240300 (44 items). TRIPOD+AI: Collins
et al., BMJ 2024, doi:10.1136/bmj-2023-078378 (27 items with their parts). The topics are in our words; read the
originals for what each asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CLAIM = "CLAIM 2024"
TRIPOD = "TRIPOD+AI"
OPEN = "open: for the authors"

CLAIM_ITEMS: dict[str, str] = {
    "1": "Title names the AI method",
    "2": "Abstract with design, methods, results, conclusions",
    "3": "Background, intended use and clinical role",
    "4": "Aims and hypotheses",
    "5": "Prospective or retrospective",
    "6": "Goal of the study",
    "7": "Data sources",
    "8": "Inclusion and exclusion",
    "9": "Preprocessing",
    "10": "Choice of subsets of the data",
    "11": "De-identification",
    "12": "Missing data",
    "13": "How images were acquired",
    "14": "Definition of the reference standard",
    "15": "Why this reference standard",
    "16": "Who annotated",
    "17": "Annotation of the test set",
    "18": "Agreement between and within annotators",
    "19": "How data were assigned to partitions",
    "20": "Level at which partitions are disjoint",
    "21": "Intended sample size",
    "22": "The model in detail",
    "23": "Software",
    "24": "Initial parameters",
    "25": "Training in detail",
    "26": "Choice of the final model",
    "27": "Ensembling",
    "28": "Metrics",
    "29": "Uncertainty and significance",
    "30": "Robustness and sensitivity analysis",
    "31": "Explainability",
    "32": "Evaluation on internal data",
    "33": "Test on external data",
    "34": "Registration of a trial",
    "35": "Numbers included and excluded",
    "36": "Demographic and clinical characteristics of each partition",
    "37": "Results with their uncertainty",
    "38": "Diagnostic accuracy with its precision",
    "39": "Analysis of failures",
    "40": "Limitations",
    "41": "What it means for practice",
    "42": "Study protocol",
    "43": "Availability of software, model and data",
    "44": "Funding",
}
TRIPOD_ITEMS: dict[str, str] = {
    "1": "Title",
    "2": "Abstract",
    "3a": "Healthcare context and reasons for the model",
    "3b": "Intended population and users",
    "3c": "Known health inequalities",
    "4": "Objectives",
    "5a": "Sources of data",
    "5b": "Dates of the data",
    "6a": "Setting",
    "6b": "Eligibility",
    "6c": "Treatments received",
    "7": "Preparation of data",
    "8a": "Outcome and how it was assessed",
    "8b": "Who assessed the outcome",
    "8c": "Blinding of the outcome assessment",
    "9a": "Choice of predictors",
    "9b": "Definition of predictors",
    "9c": "Who assessed the predictors",
    "10": "Sample size",
    "11": "Missing data",
    "12a": "Use of the data in development and evaluation",
    "12b": "Handling of predictors",
    "12c": "Type of model and its building",
    "12d": "Differences between clusters",
    "12e": "Measures and plots of performance",
    "12f": "Model updating",
    "12g": "How predictions were calculated",
    "13": "Class imbalance",
    "14": "Fairness",
    "15": "Output of the model",
    "16": "Differences between training and evaluation data",
    "17": "Ethical approval",
    "18a": "Funding",
    "18b": "Conflicts of interest",
    "18c": "Protocol",
    "18d": "Registration",
    "18e": "Sharing of data",
    "18f": "Sharing of code",
    "19": "Involvement of patients and the public",
    "20a": "Flow of participants",
    "20b": "Characteristics of participants",
    "20c": "Comparison with development data",
    "21": "Numbers in each analysis",
    "22": "The full model",
    "23a": "Performance with intervals, subgroups too",
    "23b": "Differences between clusters in performance",
    "24": "Results of updating",
    "25": "Interpretation",
    "26": "Limitations",
    "27a": "Poor or unavailable input",
    "27b": "Interaction and expertise needed",
    "27c": "Next steps",
}


@dataclass(frozen=True)
class Item:
    """One item of a checklist; `answer` is '' where it is open."""

    checklist: str
    number: str
    topic: str
    answer: str

    @property
    def filled(self) -> bool:
        """Whether the run could answer it, at least in part."""
        return bool(self.answer)


def checklist(answers: Mapping[str, Mapping[str, str]]) -> list[Item]:
    """Every item of both checklists.

    Args:
        answers: checklist -> number -> what the run knows; '' counts as open.

    Raises:
        KeyError: an answer to an item that does not exist.
    """
    found = []
    for name, items in ((CLAIM, CLAIM_ITEMS), (TRIPOD, TRIPOD_ITEMS)):
        given = answers.get(name, {})
        if unknown := set(given) - set(items):
            raise KeyError(f"{name} has no item {sorted(unknown)}")
        found += [Item(name, number, topic, given.get(number, "")) for number, topic in items.items()]
    return found


def to_markdown(items: list[Item]) -> str:
    """Both checklists as two tables."""
    lines = [
        "# Reporting checklists",
        "",
        "What the run knows is filled in; an open item is the authors' to answer.",
    ]
    for name in (CLAIM, TRIPOD):
        own = [item for item in items if item.checklist == name]
        lines += ["", f"## {name}: {sum(item.filled for item in own)} of {len(own)} items filled in", ""]
        lines += ["| Item | Topic | Answer |", "| --- | --- | --- |"]
        for item in own:
            answer = item.answer.replace("|", "\\|").replace("\n", " ") or f"**{OPEN}**"
            lines.append(f"| {item.number} | {item.topic} | {answer} |")
    return "\n".join(lines) + "\n"


def to_dict(items: list[Item]) -> dict[str, Any]:
    """For JSON."""
    return {
        name: [
            {
                "item": item.number,
                "topic": item.topic,
                "status": "filled in" if item.filled else "open",
                "answer": item.answer,
            }
            for item in items
            if item.checklist == name
        ]
        for name in (CLAIM, TRIPOD)
    }
