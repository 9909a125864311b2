"""The report's claims against the facts: proven, only stated, or refuted.

A sentence that ends with evidence is a claim of its own; what stands without is one claim that is only stated. A claim
is refuted where a fact says the opposite: a named command that failed at its last run, a named file that is not there,
tests that are said to pass and do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

from dockwright.claim import Claim, Evidence
from dockwright.events import Event, Reported
from dockwright.report.evidence import Ledger, is_test, marks, path_of
from dockwright.workspace import Workspace
from dockwright.workspace.objects import FILE, PROGRAM, blobs, sizes, tree_of

_MARKS = re.compile(r"(?:[\s,;]*\[\[.+?\]\](?!\]))+[.,;:]*")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^\sa-z])|\n+")
_TESTS_PASS = re.compile(
    r"\b(tests?|checks?|suites?|specs?)\b[^.;\n]{0,60}\b(pass(es|ed|ing)?|green|succeed(s|ed)?)\b"
    r"|\bpass(es|ed|ing)?\b[^.;\n]{0,30}\b(tests?|checks?|suites?)\b|\b\d+ passed\b",
    re.IGNORECASE,
)
_SUCCESS = re.compile(
    r"\b(pass(es|ed|ing)?|succe\w+|works?|worked|green|clean(ly)?|verified|applies|applied|answers?|answered"
    r"|ends? with 0|exits? (with )?0|without (an )?errors?)\b",
    re.IGNORECASE,
)
_NO_FAILURE = re.compile(r"\b(no|0|zero|none|without)( \w+)? (fail\w*|errors?)\b", re.IGNORECASE)
_DOUBT = re.compile(
    r"\b(not|never|fail\w*|cannot|can't|doesn't|don't|didn't|except|should|would|will|must|until|unless|error\w*"
    r"|refus\w+|reject\w+)\b",
    re.IGNORECASE,
)
_FAILED_TESTS = re.compile(r"\b[1-9]\d* (failed|failing|failures?)\b|\bfailures=[1-9]", re.IGNORECASE)


async def judge(report: Reported, events: Iterable[Event], workspace: Workspace, commit: str) -> tuple[Claim, ...]:
    """Every claim of a report, held against the run's events and the files of a commit."""
    texts = [("", "summary", report.summary)]
    texts += [(name, field, text) for name, fields in report.sections.items() for field, text in fields.items()]
    named = {path_of(reference) for _, _, text in texts for reference in marks(text)}
    ledger = Ledger.of(events, await _hashes(workspace, commit, named))
    return tuple(
        judged(section, field, claim, references, ledger)
        for section, field, text in texts
        for claim, references in claims_of(text)
    )


async def _hashes(workspace: Workspace, commit: str, paths: set[str]) -> Mapping[str, str]:
    if not paths:
        return {}
    tree = {
        path.decode("utf-8", "replace"): entry for path, entry in (await tree_of(workspace.quarantine, commit)).items()
    }
    wanted = {path: tree[path].oid for path in paths if path in tree and tree[path].mode in (FILE, PROGRAM)}
    if not wanted:
        return {}
    sized = await sizes(workspace.quarantine, set(wanted.values()))
    hashes = {oid: sha256(data).hexdigest() async for oid, data in blobs(workspace.quarantine, sized)}
    return {path: hashes[oid] for path, oid in wanted.items()}


def claims_of(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each claim of a text with the evidence that it names, in order; what names none is taken together."""
    bare: list[str] = []
    at = 0
    for match in _MARKS.finditer(text):
        *others, sentence = _SENTENCE.split(text[at : match.start()].strip())
        at = match.end()
        bare += others
        if bare and sentence.strip():
            yield from _stated(bare)
            bare = []
        yield (sentence.strip() or " ".join(bare)), marks(match[0])
    yield from _stated([*bare, text[at:]])


def _stated(parts: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    text = "\n".join(part.strip() for part in parts if part.strip())
    if re.search(r"\w", text):
        yield text, []


def judged(section: str, field: str, text: str, references: list[str], ledger: Ledger) -> Claim:
    """A claim with the verdict that the facts of a ledger give."""
    facts = [(reference, ledger.resolve(reference)) for reference in references]
    evidence = tuple(dict.fromkeys(fact for _, fact in facts if fact))
    missing = [reference for reference, fact in facts if fact is None]
    tests_pass = any(_says_that_tests_pass(sentence) for sentence in _SENTENCE.split(text))
    verdict, reason = "proven", ""
    if missing:
        verdict, reason = "refuted", f"what it names was neither run nor handed over: {', '.join(missing)}"
    elif why := _against(text, evidence, tests_pass, ledger):
        verdict, reason = "refuted", why
    elif not evidence:
        verdict, reason = "stated", "no evidence is named"
    elif tests_pass and all(fact.kind == "file" for fact in evidence):
        verdict, reason = "stated", "a file does not show that tests pass"
    elif (failed := [fact for fact in evidence if fact.failed]) and not _DOUBT.search(text):
        verdict, reason = "stated", f"its evidence failed: {_ended(failed[0])}"
    return Claim.model_validate(
        {"section": section, "field": field, "text": text, "verdict": verdict, "reason": reason, "evidence": evidence}
    )


def _says_that_tests_pass(sentence: str) -> bool:
    plain = _NO_FAILURE.sub("", sentence)
    return bool(_TESTS_PASS.search(plain)) and not _DOUBT.search(plain)


def _against(text: str, evidence: tuple[Evidence, ...], tests_pass: bool, ledger: Ledger) -> str:
    """The fact that says the opposite; empty where there is none."""
    plain = _NO_FAILURE.sub("", text)
    failed = [fact for fact in evidence if fact.failed]
    if failed and _SUCCESS.search(text) and not _DOUBT.search(plain):
        return f"its evidence failed: {_ended(failed[0])}"
    if not tests_pass:
        return ""
    for fact in evidence:
        if fact.kind != "file" and (found := _FAILED_TESTS.search(fact.output)):
            return f"its evidence says otherwise: {fact.name} printed {found[0]!r}"
    for check in ledger.checks:
        if check.failed and (not evidence or is_test(check.name)):
            return f"a check failed in the clean sandbox: {_ended(check)}"
    last = ledger.last_test
    if not evidence and not ledger.checks and last and last.failed:
        return f"the tests failed at their last run: {_ended(last)}"
    return ""


def _ended(fact: Evidence) -> str:
    how = "did not end" if fact.exit_code is None else f"ended with exit code {fact.exit_code}"
    return f"{fact.name} {how}"
