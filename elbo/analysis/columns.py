"""The columns of the tables that need labels: without any, the tables are their headers alone."""

CRITIQUE = {
    "critique_by_class": [
        "class", "share", "share_of_data", "confidence", "entropy", "unsure", "pixel_entropy",
        "pixel_entropy_of_reconstructions", "judge_error", "reconstructed_as_other", "most_often_as",
    ],
    "samples": ["sample", "verdict", "confidence", "sure"],
}  # fmt: skip
LATENTS = {
    "latents_by_class": ["class", "images", "neighbours_recall", "probe_recall", "silhouette"],
    "latents_confusion": ["class"],
    "latents_pairs": ["first", "second", "images", "share", "z1", "z2"],
    "interpolation_lines": ["row", "step", "verdict", "confidence", "sure"],
    "interpolation_pairs": [
        "first", "second", "faithful", "transitions", "unsure", "detour", "largest_step", "random_lines",
        "random_faithful",
    ],
}  # fmt: skip
