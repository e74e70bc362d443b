"""Evaluation of language models that forgot: benchmarks, probes, attacks, memorisation."""

from __future__ import annotations

from unlearnjax.catalog.row import rows_of

_paper = rows_of("language_evaluation")

ROWS = (
  _paper(4, "TOFU", "A Task of Fictitious Unlearning for LLMs", "Maini", 2024, "losses data metrics"),
  _paper(
    5,
    "ConceptVectors",
    "Intrinsic Evaluation of Unlearning Using Parametric Knowledge Traces",
    "Hong",
    2024,
    "updates edits metrics attacks",
  ),
  _paper(
    6,
    "Black-box evaluation",
    "Does Unlearning Truly Unlearn?",
    "Doshi",
    2024,
    "losses metrics attacks",
    source="as remembered",
  ),
  _paper(
    7,
    "MUSE",
    "Machine Unlearning Six-Way Evaluation",
    "Shi",
    2024,
    "losses edits guards data metrics",
    arxiv="2407.06460",
    factories="metrics.verbatim_memorization metrics.knowledge_memorization metrics.priv_leak data.folds "
    "data.name_clozes",
    experiment="experiments.language.run",
  ),
  _paper(
    8,
    "UnUnlearning",
    "Unlearning is not sufficient for content regulation",
    "Shumailov",
    2024,
    "guards metrics attacks",
    source="second-hand",
    arxiv="2407.00106",
  ),
  _paper(21, "RWKU", "Real-World Knowledge Unlearning", "Jin", 2024, "losses guards data metrics attacks"),
  _paper(
    26,
    "PISTOL",
    "Structural unlearning datasets",
    "Qiu",
    2024,
    "losses reparam data metrics",
    arxiv="2406.16810",
    factories="data.contracts data.load_pistol data.split_edges metrics.mean_reciprocal_rank metrics.top_hit_ratio",
    experiment="experiments.language.run",
  ),
  _paper(35, "MAC", "Memory of Amortized Contexts", "Tack", 2024, "reparam memory amortized metrics"),
  _paper(
    36,
    "Position",
    "Position: LLM Unlearning Benchmarks are Weak Measures of Progress",
    "Thaker",
    2024,
    "guards data metrics attacks",
    source="second-hand",
    arxiv="2410.02879",
  ),
  _paper(
    39,
    "CLEAR",
    "Character Unlearning in Textual and Visual Modalities",
    "Dontsov",
    2024,
    "losses reparam data metrics attacks",
  ),
  _paper(
    78,
    "Data ablation by merging",
    "Scalable Data Ablation Approximations through Modular Training and Merging",
    "Na",
    2024,
    "reparam edits data metrics",
  ),
  _paper(
    122,
    "Adversarial Compression Ratio",
    "Rethinking LLM Memorization",
    "Schwarzschild",
    2024,
    "metrics attacks",
    arxiv="2404.15146",
    factories="attacks.compression_ratio",
  ),
)
