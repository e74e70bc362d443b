"""What the papers compare with."""

from __future__ import annotations

import functools

from unlearnjax.catalog.row import rows_of

_baseline = functools.partial(rows_of("classification"), None, experiment="experiments.classify.run")
_continual = functools.partial(rows_of("continual_core"), None, experiment="experiments.continual.run")
_language = functools.partial(rows_of("language"), None)

ROWS = (
  _baseline("Retrain", "Training again without the forget set", "", None, "data", factories="retrain"),
  _baseline(
    "Retrain at once",
    "Training from scratch at every request",
    "",
    None,
    "data",
    factories="from_scratch",
    experiment=None,
  ),
  _baseline("Fine-tune", "Fine-tuning on the retain set", "", None, "losses", factories="fine_tune"),
  _baseline("GA", "Gradient ascent on the forget set", "", None, "losses", factories="gradient_ascent"),
  _baseline("NegGrad", "Ascent held near the original weights", "", None, "losses", factories="neg_grad"),
  _baseline("NegGrad+", "Ascent and descent weighed together", "", None, "losses combine", factories="neg_grad_plus"),
  _baseline("Random label", "Random labels from all classes", "", None, "losses data", factories="random_label"),
  _baseline("Amnesiac", "Random labels from the other classes", "", None, "losses data", factories="amnesiac"),
  _baseline("Influence", "Influence functions, Newton removal", "", None, "curvature edits", factories="influence"),
  _baseline(
    "Certified removal",
    "Certified Data Removal from Machine Learning Models",
    "Guo",
    2019,
    "losses curvature metrics",
    source="second-hand",
    arxiv="1911.03030",
    factories="certified_removal",
  ),
  _baseline("FF", "Fisher forgetting", "Golatkar", 2020, "curvature edits", factories="fisher_forgetting"),
  _baseline("NTK", "NTK scrubbing", "Golatkar", 2020, "curvature edits", factories="ntk_scrubbing"),
  _baseline("SCRUB", "Teacher that is left and followed", "Kurmanji", 2023, "losses combine", factories="scrub"),
  _baseline("SCRUB+R", "SCRUB with rewinding", "Kurmanji", 2023, "losses combine memory", factories="scrub_r"),
  _baseline("Bad teacher", "Competent and bad teacher", "Chundawat", 2023, "losses", factories="bad_teacher"),
  _baseline("UNSIR", "Noise that impairs, then repair", "Tarun", 2023, "losses data", factories="unsir"),
  _baseline("CF-k", "Forgetting in the last k layers", "Goel", 2022, "losses updates", factories="cf_k"),
  _baseline("EU-k", "Exact unlearning of the last k layers", "Goel", 2022, "losses updates", factories="eu_k"),
  _baseline("SISA", "Shards and slices", "Bourtoule", 2021, "memory guards", factories="sisa"),
  _baseline("SSD", "Selective Synaptic Dampening", "Foster", 2024, "curvature edits", factories="ssd"),
  _baseline("JiT", "Lipschitz smoothing, just in time", "Foster", 2024, "losses data", factories="jit_lipschitz"),
  _baseline("PGU", "Projected-gradient unlearning", "", None, "losses updates curvature", factories="pgu"),
  _continual("Sequential", "One task after another, nothing else", "", None, "losses", factories="sequential"),
  _continual(
    "ER", "Experience replay from a reservoir", "Chaudhry", 2019, "memory", arxiv="1902.10486", factories="er"
  ),
  _language(
    "GA (language)", "Gradient ascent on answers", "", None, "losses", factories="methods.language.gradient_ascent"
  ),
  _language("GradDiff", "Ascent on forgotten, descent on retained answers", "", None, "losses", factories="grad_diff"),
  _language("KL-min", "Ascent while retained predictions stay", "", None, "losses", factories="kl_min"),
  _language("IDK", "Refusals in the place of answers", "Maini", 2024, "losses data", factories="idk"),
  _language("DPO / AltPO", "Preferring other answers", "", 2024, "losses data", factories="idk_dpo"),
  _language(
    "LLMU", "Large Language Model Unlearning", "Yao", 2023, "losses data", arxiv="2310.10683", factories="llmu"
  ),
  _language(
    "UNDIAL", "Self-distillation with adjusted logits", "Dong", 2024, "losses", arxiv="2402.10052", factories="undial"
  ),
  _language("CE-U", "Cross entropy unlearning", "Yang", 2025, "losses", arxiv="2503.01224", factories="ceu"),
  _language("WGA", "Weighted gradient ascent", "Wang", 2025, "losses", arxiv="2502.19301", factories="wga"),
  _language(
    "SatImp", "Saturation and importance of tokens", "Yang", 2025, "losses", arxiv="2505.11953", factories="satimp"
  ),
  _language(
    "PDU", "Constrained entropic unlearning", "Entesari", 2025, "losses combine", arxiv="2506.05314", factories="pdu"
  ),
  _language(
    "Task vector", "Editing Models with Task Arithmetic", "Ilharco", 2022, "losses edits", factories="task_vector"
  ),
  _language("WHP", "Who's Harry Potter", "Eldan", 2023, "losses guards", arxiv="2310.02238", factories="whp"),
  _language("RMU", "Representation misdirection", "Li", 2024, "losses updates", arxiv="2403.03218", factories="rmu"),
  _continual(
    "EWC", "Elastic weight consolidation", "Kirkpatrick", 2016, "losses curvature", arxiv="1612.00796", factories="ewc"
  ),
  _continual(
    "Online EWC",
    "EWC with one anchor and a running Fisher",
    "Schwarz",
    2018,
    "losses curvature",
    arxiv="1805.06370",
    factories="online_ewc",
  ),
  _continual(
    "SI", "Synaptic intelligence", "Zenke", 2017, "losses updates curvature", arxiv="1703.04200", factories="si"
  ),
  _continual("MAS", "Memory aware synapses", "Aljundi", 2017, "losses curvature", arxiv="1711.09601", factories="mas"),
  _continual("Joint", "Training on all tasks so far, the upper bound", "", None, "data", factories="joint"),
  _continual("DER", "Dark experience replay", "Buzzega", 2020, "losses memory", arxiv="2004.07211", factories="der"),
  _continual("DER++", "Dark experience replay with labels", "Buzzega", 2020, "losses memory", factories="der_pp"),
  _continual("A-GEM", "Averaged GEM", "Chaudhry", 2018, "combine memory", arxiv="1812.00420", factories="agem"),
  _continual("OGD", "Orthogonal gradient descent", "Farajtabar", 2019, "combine", arxiv="1910.07104", factories="ogd"),
  _continual(
    "GPM", "Gradient projection memory", "Saha", 2021, "combine curvature", arxiv="2103.09762", factories="gpm"
  ),
  _continual(
    "iCaRL", "Exemplars and nearest means", "Rebuffi", 2016, "losses memory", arxiv="1611.07725", factories="icarl"
  ),
  _continual("GDumb", "A balanced memory and a fresh network", "Prabhu", 2020, "memory", factories="gdumb"),
  _continual("Stable SGD", "Rates that fall", "Mirzadeh", 2020, "updates", arxiv="2006.06958", factories="stable_sgd"),
)
