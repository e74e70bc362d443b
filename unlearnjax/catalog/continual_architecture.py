"""Continual learning by architecture: prompts, adapters, masks, hypernetworks, test-time adaptation."""

from __future__ import annotations

from unlearnjax.catalog.row import rows_of

_paper = rows_of("continual_architecture")

ROWS = (
  _paper(
    72,
    "Online-LoRA",
    "Task-free Online Continual Learning via Low Rank Adaptation",
    "Wei",
    2024,
    "losses reparam memory curvature",
  ),
  _paper(
    74,
    "GCAB + CFDC",
    "Gated Class-Attention and Cascaded Feature Drift Compensation",
    "Cotogni",
    2022,
    "losses updates reparam",
  ),
  _paper(76, "L2P", "Learning to Prompt for Continual Learning", "Wang", 2022, "losses reparam"),
  _paper(79, "DKVB", "Discrete Key-Value Bottleneck", "Traeuble", 2022, "reparam memory"),
  _paper(83, "Continual-CLIP", "CLIP model is an Efficient Continual Learner", "Thengane", 2022, "guards models"),
  _paper(
    84,
    "Architecture matters",
    "Architecture Matters in Continual Learning",
    "Mirzadeh",
    2022,
    "models metrics",
    source="second-hand",
    arxiv="2202.00275",
  ),
  _paper(87, "CODA-Prompt", "COntinual Decomposed Attention-based Prompting", "Smith", 2023, "losses updates reparam"),
  _paper(89, "L2M", "Learning to Modulate pre-trained Models in RL", "Schmied", 2023, "losses reparam models data"),
  _paper(92, "ExSSNeT", "Exclusive Supermask Subnetwork Training", "Yadav", 2022, "updates reparam"),
  _paper(
    96,
    "Input tuning",
    "Tuning in the Input Space: Continual Learning with Pretrained Backbones",
    "Marullo",
    2023,
    "reparam",
    source="as remembered",
  ),
  _paper(
    99, "Elephant", "Elephant Neural Networks: Born to Be a Continual Learner", "Lan", 2023, "losses curvature models"
  ),
  _paper(
    102,
    "APG",
    "When Prompt-based Incremental Learning Does Not Meet Strong Pretraining",
    "Tang",
    2023,
    "losses reparam memory curvature",
  ),
  _paper(
    103,
    "LingoCL",
    "Enhancing Visual Continual Learning with Language-Guided Supervision",
    "Ni",
    2024,
    "losses models",
    source="second-hand",
  ),
  _paper(
    106, "DualPrompt", "Complementary Prompting for Rehearsal-free Continual Learning", "Wang", 2022, "losses reparam"
  ),
  _paper(
    113,
    "Ada-QPacknet",
    "Adaptive pruning with bit width reduction",
    "Pietron",
    2023,
    "updates reparam edits",
    source="as remembered",
  ),
  _paper(115, "DST-CL", "CL with Dynamic Sparse Training", "Yildirim", 2023, "updates reparam metrics"),
  _paper(
    116,
    "L2L / S-LoRA",
    "Choice of PEFT in CL: Prompt Tuning is Not All You Need",
    "Wistuba",
    2024,
    "reparam guards",
    source="as remembered",
  ),
  _paper(117, "TAME", "Task Agnostic Continual Learning using Multiple Experts", "Zhu", 2022, "reparam memory guards"),
  _paper(
    120,
    "EcoTTA",
    "Memory-Efficient Continual Test-time Adaptation",
    "Song",
    2023,
    "losses reparam data",
    source="second-hand",
  ),
  _paper(
    121,
    "HNET",
    "Continual learning with hypernetworks",
    "von Oswald",
    2020,
    "losses updates reparam",
    factories="hypernetwork",
  ),
  _paper(
    127,
    "Fwd-Prompt",
    "Multimodal Continual Instruction Tuning with Positive Forward Transfer",
    "Zheng",
    2024,
    "losses updates reparam",
    source="as remembered",
  ),
  _paper(
    129, "NMC", "A Simple Baseline that Questions the Use of Pretrained-Models in CL", "Janson", 2022, "curvature edits"
  ),
  _paper(
    133, "ArchCraft", "Revisiting Neural Networks for CL: An Architectural Perspective", "Lu", 2024, "memory models"
  ),
  _paper(
    137,
    "PTM survey",
    "Continual Learning with Pre-Trained Models: A Survey",
    "Zhou",
    2024,
    "losses reparam curvature edits metrics",
    source="as remembered",
  ),
  _paper(
    138, "MOS", "Model Surgery for Pre-Trained Model-Based CIL", "Sun", 2024, "losses reparam curvature edits guards"
  ),
  _paper(146, "CLR", "Channel-wise Lightweight Reprogramming", "Ge", 2023, "reparam"),
)
