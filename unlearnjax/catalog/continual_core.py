"""Continual learning: regularisation, projection, distillation, theory."""

from __future__ import annotations

from unlearnjax.catalog.row import rows_of

_paper = rows_of("continual_core")

ROWS = (
  _paper(
    45,
    "Refresh learning / unified CL objective",
    "A Unified and General Framework for Continual Learning",
    "Wang",
    2024,
    "losses updates memory curvature",
  ),
  _paper(
    54,
    "Rehearsal-free study",
    "A Closer Look at Rehearsal-Free Continual Learning",
    "Smith",
    2023,
    "losses reparam curvature metrics",
    source="second-hand",
    arxiv="2203.17269",
  ),
  _paper(
    55,
    "Ideal Continual Learner",
    "The Ideal Continual Learner: An Agent That Never Forgets",
    "Peng",
    2023,
    "updates memory curvature",
    source="derived",
  ),
  _paper(
    61,
    "MCL weight interpolation",
    "Momentum-based Weight Interpolation of Strong Zero-Shot Models for Continual Learning",
    "Stojanovski",
    2022,
    "reparam guards",
    source="second-hand",
    arxiv="2211.03186",
  ),
  _paper(62, "LwF", "Learning without Forgetting", "Li", 2016, "losses reparam memory data"),
  _paper(
    66,
    "NTK overlap + PCA-OGD",
    "A Theoretical Analysis of Catastrophic Forgetting through the NTK Overlap Matrix",
    "Doan",
    2021,
    "combine memory curvature metrics",
  ),
  _paper(
    68, "TAG", "TAG: Task-based Accumulated Gradients for Lifelong learning", "Malviya", 2022, "updates memory data"
  ),
  _paper(
    82,
    "PLwF + credit assignment",
    "Progressive Learning without Forgetting",
    "Feng",
    2022,
    "losses combine memory",
    source="reconstructed",
  ),
  _paper(
    86,
    "CUBER",
    "Beyond Not-Forgetting: Continual Learning with Backward Knowledge Transfer",
    "Lin",
    2022,
    "losses combine reparam curvature",
  ),
  _paper(
    107,
    "ZeroFlow",
    "ZeroFlow: Overcoming Catastrophic Forgetting is Easier than You Think",
    "Feng",
    2025,
    "updates reparam metrics",
  ),
  _paper(
    119,
    "Stability gap",
    "Continual evaluation for lifelong learning: Identifying the stability gap",
    "De Lange",
    2023,
    "memory data metrics",
  ),
  _paper(
    123,
    "IF2Net",
    "IF2Net: Innately Forgetting-Free Networks for Continual Learning",
    "Li",
    2023,
    "losses updates memory models",
    source="reconstructed",
    arxiv="2306.10480",
  ),
  _paper(
    124,
    "FPF / k-FPF",
    "Does Continual Learning Equally Forget All Parameters?",
    "Zhao",
    2023,
    "reparam memory curvature",
    source="second-hand",
    arxiv="2304.04158",
  ),
  _paper(
    126,
    "Spectral regularization",
    "Learning Continually by Spectral Regularization",
    "Lewandowski",
    2024,
    "losses curvature data metrics",
    source="second-hand",
    arxiv="2406.06811",
  ),
  _paper(
    136,
    "Linear theory",
    "Theory on Forgetting and Generalization of Continual Learning",
    "Lin",
    2023,
    "curvature data metrics",
    source="derived",
  ),
  _paper(
    148, "GEM", "Gradient Episodic Memory for Continual Learning", "Lopez-Paz", 2017, "combine memory data metrics"
  ),
)
