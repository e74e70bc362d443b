"""Image-to-image models, diffusion, GANs, unlearnable examples, data-free distillation."""

from __future__ import annotations

from unlearnjax.catalog.row import rows_of

_paper = rows_of("generative")

ROWS = (
  _paper(
    2,
    "I2I unlearning",
    "Machine Unlearning for Image-to-Image Generative Models",
    "Li",
    2024,
    "losses reparam models metrics",
  ),
  _paper(
    19,
    "Erase to Enhance",
    "Data-Efficient Machine Unlearning in MRI Reconstruction",
    "Xue",
    2024,
    "losses models data metrics",
  ),
  _paper(27, "HUB", "Holistic Unlearning Benchmark", "Moon", 2024, "metrics attacks"),
  _paper(
    41, "DoCo", "Concept Domain Correction and Concept-Preserving Gradient", "Wu", 2024, "losses combine reparam memory"
  ),
  _paper(42, "AdvUnlearn", "Defensive Unlearning with Adversarial Training", "Zhang", 2024, "losses reparam attacks"),
  _paper(56, "SFD", "Score Forgetting Distillation", "Chen", 2024, "losses models"),
  _paper(69, "UnlearnCanvas", "A stylized-image benchmark", "Zhang", 2024, "data metrics"),
  _paper(80, "Adapt-then-Unlearn", "Unlearning in GANs", "Tiwary", 2023, "losses memory curvature edits data"),
  _paper(101, "LRA", "Learning to Retain while Acquiring", "Patel", 2023, "losses combine memory models"),
  _paper(104, "Unlearnable Clusters", "Label-agnostic unlearnable examples", "Zhang", 2023, "curvature data metrics"),
  _paper(
    110, "UnlearnDiffAtk", "Adversarial prompts against unlearned diffusion models", "Zhang", 2023, "metrics attacks"
  ),
  _paper(131, "CUDA", "Convolution-based Unlearnable Datasets", "Sadasivan", 2023, "data metrics"),
  _paper(135, "RECE", "Reliable and Efficient Concept Erasure", "Gong", 2024, "edits attacks"),
)
