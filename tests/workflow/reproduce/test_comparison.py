"""What `make verify` accepts: comparisons of small hand-made trees, tolerances, the table."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from workflow.core.errors import UserError
from workflow.reproduce.compare import Finding, Result, Rule, compare, load_rules
from workflow.reproduce.verify import text

ELBO = "reports/vae/tuned/elbo.json"
TRAINING = "reports/vae/tuned/training.csv"


def folder(path: Path, reports: Mapping[str, str], model: str = "one") -> Path:
    """Reports with a dvc.lock; `model` is the md5 of a cached output."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    for name, content in reports.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    stage = {"cmd": "python", "outs": [{"path": "models/tuned.safetensors", "md5": model}]}
    (path / "dvc.lock").write_text(json.dumps({"stages": {"train": stage}}))
    return path


Mode = Callable[..., Result]


def rule(*match: str, **limit: float) -> Rule:
    return Rule(match=list(match), reason="because", **limit)


def exact(tmp_path: Path, old: Mapping[str, str], new: Mapping[str, str], *rules: Rule) -> Result:
    return compare(folder(tmp_path / "old", old), folder(tmp_path / "new", new), rules)


def numbers(tmp_path: Path, old: Mapping[str, str], new: Mapping[str, str], *rules: Rule) -> Result:
    return compare(folder(tmp_path / "old", old), folder(tmp_path / "new", new, "another"), rules)


def failures(result: Result) -> list[tuple[str, str, str, str]]:
    return [(found.file, found.place, found.committed, found.obtained) for found in result.failures]


def test_with_equal_models_every_digit_must_be_equal_whatever_the_rules_allow(tmp_path: Path) -> None:
    old, new = {ELBO: '{"test": {"elbo": -132.5}}'}, {ELBO: '{"test": {"elbo": -132.500001}}'}
    result = exact(tmp_path, old, new, rule("*", absolute=1))
    assert result.heading.startswith("BYTES: all 1 cached outputs")
    assert failures(result) == [(ELBO, "test.elbo", "-132.5", "-132.500001")]


def test_equal_reports_pass_and_are_counted(tmp_path: Path) -> None:
    reports = {
        ELBO: '{"test": {"elbo": -1.5, "name": "x"}, "empty": null}',
        TRAINING: "epoch,word\n1,a\n2,b\n",
    }
    for result in (exact(tmp_path, reports, reports), numbers(tmp_path, reports, reports)):
        assert not result.findings
        assert (result.numbers, result.files) == (3, 2)
    assert text(result).splitlines()[-1] == "verify: passed; 3 numbers in 2 files compared"


def test_with_other_models_the_rules_limit_the_differences(tmp_path: Path) -> None:
    old = {ELBO: '{"a": -1.0, "b": -200.0, "c": 0.3, "d": -200.0, "e": 5}'}
    new = {ELBO: '{"a": -1.1, "b": -198.0, "c": 0.4, "d": -197.9, "e": 5}'}
    limits = [rule("*:a", absolute=0.1), rule("*:[bd]", relative=0.01), rule("*:c", absolute=0.099999)]
    result = numbers(tmp_path, old, new, *limits)
    assert result.heading.startswith("NUMBERS: 0 of 1 cached outputs")
    # a difference of exactly 0.1 is allowed for a, whatever its binary fraction
    assert failures(result) == [(ELBO, "d", "-200.0", "-197.9"), (ELBO, "c", "0.3", "0.4")]
    assert result.findings[0].reason == "because"
    assert "Of the allowed differences, the largest is 100% of its limit: 0.1 of 0.1" in text(result)


def test_a_limit_in_standard_errors_uses_the_committed_error(tmp_path: Path) -> None:
    old = {ELBO: '{"a": {"b": 5.0, "b_se": 0.25}, "c": 1.0}', TRAINING: "loss,loss_se\n1,0.1\n2,0.01\n"}
    new = {ELBO: '{"a": {"b": 5.6, "b_se": 9.0}, "c": 1.5}', TRAINING: "loss,loss_se\n1.2,0.1\n2.2,0.2\n"}
    rules = [rule("*_se", absolute=9), rule("*", errors=2, absolute=0.04)]
    assert failures(numbers(tmp_path, old, new, *rules)) == [
        (ELBO, "c", "1.0", "1.5"),
        (ELBO, "a.b", "5.0", "5.6"),
        (TRAINING, "loss, row 2", "2", "2.2"),
    ]
    assert not numbers(
        tmp_path, old, new, rule("*_se", absolute=9), rule("*", errors=3, relative=0.5)
    ).failures


def test_where_the_standard_error_of_one_image_is_not_known_the_other_limits_hold(tmp_path: Path) -> None:
    old = {ELBO: '{"b": 5.0, "b_se": null}', TRAINING: "loss,loss_se\n1,\n"}
    new = {ELBO: '{"b": 5.6, "b_se": null}', TRAINING: "loss,loss_se\n1.2,\n"}
    assert not numbers(tmp_path, old, new, rule("*", errors=2)).failures
    assert failures(numbers(tmp_path, old, new, rule("*", errors=2, absolute=0.5))) == [
        (ELBO, "b", "5.0", "5.6")
    ]
    new |= {TRAINING: "loss,loss_se\n1.2,0.1\n"}
    assert failures(numbers(tmp_path, old, new, rule("*", errors=2))) == [
        (TRAINING, "loss_se, row 1", "", "0.1")
    ]


def test_the_first_matching_rule_applies(tmp_path: Path) -> None:
    old, new = {ELBO: '{"test": {"elbo": 1.0, "kl": 1.0}}'}, {ELBO: '{"test": {"elbo": 1.5, "kl": 1.5}}'}
    tight, wide = rule("*:test.elbo", absolute=0.1), rule("reports/*.json:test.*", absolute=1)
    assert failures(numbers(tmp_path, old, new, tight, wide)) == [(ELBO, "test.elbo", "1.0", "1.5")]
    assert not numbers(tmp_path, old, new, wide, tight).failures
    assert not numbers(tmp_path, old, new, rule("*:other", "*:test.*", absolute=1)).failures


def test_a_number_without_a_rule_must_be_equal_and_the_table_says_so(tmp_path: Path) -> None:
    result = numbers(tmp_path, {ELBO: '{"a": 1}'}, {ELBO: '{"a": 2}'}, rule("*:b", absolute=9))
    assert "no rule in tolerances.yaml" in result.findings[0].reason
    assert len(result.failures) == 1


@pytest.mark.parametrize(("share", "fails"), [(0.5, False), (0.49, True), (0, True)])
def test_a_share_of_a_column_of_words_may_differ(tmp_path: Path, share: float, fails: bool) -> None:
    old, new = (
        {TRAINING: "verdict,n\ncat,1\ndog,2\ncat,3\n7,4\n"},
        {TRAINING: "verdict,n\ncat,1\ncat,2\ncat,3\n,4\n"},
    )
    result = numbers(tmp_path, old, new, rule("*:verdict", share=share))
    assert len(result.failures) == fails
    if fails:
        (found,) = result.failures
        assert (found.place, found.committed, found.obtained) == ("verdict, row 2 and 1 more", "dog", "cat")
        assert (found.difference, found.allowed) == ("2 of 4", f"{share:.1%}")


def test_words_must_be_equal_and_a_number_is_not_equal_to_none(tmp_path: Path) -> None:
    old, new = {ELBO: '{"a": "x", "b": null, "c": true}'}, {ELBO: '{"a": "y", "b": 1.0, "c": false}'}
    result = numbers(tmp_path, old, new, rule("*", absolute=100))
    assert [found[1:] for found in failures(result)] == [
        ("a", "x", "y"), ("b", "null", "1.0"), ("c", "true", "false")
    ]  # fmt: skip


@pytest.mark.parametrize("mode", [exact, numbers])
def test_files_keys_columns_and_rows_on_one_side_fail(tmp_path: Path, mode: Mode) -> None:
    old = {ELBO: '{"a": 1, "list": [1, 2]}', TRAINING: "epoch,loss\n1,5\n2,6\n", "reports/gone.json": "{}"}
    new = {ELBO: '{"b": 1, "list": [1]}', TRAINING: "epoch,gain\n1,5\n", "reports/new.csv": "a\n"}
    result = mode(tmp_path, old, new, rule("*", absolute=100))
    assert sorted(failures(result)) == sorted(
        [
            (ELBO, "a", "1", "missing"),
            (ELBO, "b", "missing", "1"),
            (ELBO, "list.1", "2", "missing"),
            (TRAINING, "epoch", "1 2", "1"),
            (TRAINING, "gain", "missing", "5"),
            (TRAINING, "loss", "5 6", "missing"),
            ("reports/gone.json", "the file", "there", "missing"),
            ("reports/new.csv", "the file", "missing", "there"),
        ]
    )


def test_figures_are_compared_by_their_bytes_where_the_arithmetic_is_the_same(tmp_path: Path) -> None:
    old, new = {"reports/figures/a.png": "one"}, {"reports/figures/a.png": "two"}
    assert [found.place for found in exact(tmp_path, old, new).findings] == ["its bytes"]
    assert not numbers(tmp_path, old, new).findings
    assert [found.obtained for found in numbers(tmp_path, old, {}).findings] == ["missing"]


def test_equal_numbers_in_other_bytes_fail(tmp_path: Path) -> None:
    old, spaced, padded = ({ELBO: content} for content in ('{"a": 1.1}', '{"a":  1.1}', '{"a": 1.10}'))
    assert [found.place for found in exact(tmp_path, old, spaced).findings] == ["its bytes"]
    assert failures(exact(tmp_path, old, padded)) == [(ELBO, "a", "1.1", "1.10")]
    assert not numbers(tmp_path, old, spaced).findings


def test_another_dataset_is_reported_and_nothing_else_is_compared(tmp_path: Path) -> None:
    about = '{"dataset": "%s", "dataset_digest": "%s", "a": %d%s}'
    old = {ELBO: about % ("mnist", "d1", 1, "")}
    stand_in = {ELBO: about % ("uci-digits", "d2", 2, ', "fallback_for": "mnist"')}
    result = numbers(tmp_path, old, stand_in, rule("*", absolute=9))
    assert result.heading == "ANOTHER DATASET: its numbers are not compared."
    assert result.findings[0].reason == "the dataset is another one, or its content is"
    assert {found.place for found in result.findings} == {"dataset", "dataset_digest", "fallback_for"}
    other_content = numbers(tmp_path, old, {ELBO: about % ("mnist", "d2", 1, "")}, rule("*", absolute=9))
    assert failures(other_content) == [(ELBO, "dataset_digest", "d1", "d2")]


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        (ELBO, '{"a": '),
        (TRAINING, "a,b\n1\n"),
        (TRAINING, 'a,b\n"'),
        (TRAINING, "a,a\n1,2\n"),
        (TRAINING, ""),
    ],
)
def test_a_report_that_cannot_be_read_is_a_finding(tmp_path: Path, name: str, broken: str) -> None:
    result = exact(tmp_path, {name: broken}, {name: "{}" if name == ELBO else "a,b\n1,2\n"})
    assert [found.reason.startswith("cannot be read") for found in result.findings] == [True]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("rules:\n- {match: [a], absolute: 1}\n", "rules.0.reason: Field required"),
        ("rules:\n- {match: [a], absolute: 1, reason: ''}\n", "rules.0.reason"),
        ("rules:\n- {match: a, absolute: 1, reason: b}\n", "rules.0.match"),
        ("rules:\n- {match: [], absolute: 1, reason: b}\n", "rules.0.match"),
        ("rules:\n- {match: [a], absolute: 1, share: 1, reason: b}\n", "needs share, or else"),
        ("rules:\n- {match: [a], reason: b}\n", "needs share, or else"),
        ("rules:\n- {match: [a], absolut: 1, reason: b}\n", "rules.0.absolut: Extra inputs"),
        ("rules:\n- {match: [a], share: 2, reason: b}\n", "rules.0.share"),
        ("rules:\n- {match: [a], errors: '1', reason: b}\n", "rules.0.errors"),
        ("- [", "is not YAML"),
    ],
)
def test_an_error_in_the_tolerances_gives_its_path(tmp_path: Path, content: str, expected: str) -> None:
    path = tmp_path / "tolerances.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=re.escape(expected)):
        load_rules(path)


def test_the_table_covers_every_file_fits_110_columns_and_counts_omitted_rows() -> None:
    reason = "why " * 20
    findings = [
        Finding(f"reports/{file}.csv", f"column, row {row}", "-132.782876", "1" * 40, reason, "3", "1")
        for file, rows in (("long", 100), ("short", 3))
        for row in range(rows)
    ]
    lines = text(Result("EXACT", findings, numbers=1234, files=9)).splitlines()
    assert all(len(line) <= 110 for line in lines)
    assert sum(", row " in line for line in lines) == 13
    assert [line for line in lines if line.startswith("reports/")] == [
        "reports/long.csv",
        "reports/short.csv",
    ]
    assert "… and 90 more" in lines
    assert lines[-1] == "verify: failed, differences: 103; 1,234 numbers in 9 files compared"
