"""The names of datasets, as people write them."""

TITLES = {
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
    "uci-digits": "UCI digits",
    "annuli": "two annuli",
}


def dataset_title(name: str, fallback_for: str = "") -> str:
    """`MNIST` for mnist; a name that is not known stays as it is, and a fallback says so."""
    title = TITLES.get(name, name)
    return f"{title}, a stand-in for {dataset_title(fallback_for)}" if fallback_for else title
