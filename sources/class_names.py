"""What may be the name of a class."""

LONGEST = 40  # letters, since it stands in figures
# The head of a column, in a table where each class has its own; and what pandas reads as a missing value.
TAKEN = {"class", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "1.#IND", "1.#QNAN"}


def name_fault(name: str) -> str:
    """Why a text cannot be the name of a class, which stands in figures, tables and pages; or ""."""
    if not name.isprintable() or not name[:1].isalnum():
        return "does not begin with a letter or digit, or has letters that cannot be printed"
    if name != name.strip():
        return "ends with a space"
    if name in TAKEN:
        return "is a word that tables take for another"
    if "$" in name or "\\" in name:  # matplotlib would take it for mathematics
        return "has a $ or \\ in it"
    if "</" in name or "<!--" in name:  # `dvc plots` writes names as they are into a script of its page
        return "has </ or <!-- in it"
    return f"is longer than {LONGEST} letters" if len(name) > LONGEST else ""
