"""From a node to its report, with a pack of our own."""

from __future__ import annotations

import time
from pathlib import Path

import fake_pack
import pytest

from gpudoctor.catalog import Catalog
from gpudoctor.cli.options import Wish
from gpudoctor.cli.refusal import Refusal
from gpudoctor.cli.scanning import collecting, every_fact, scan
from gpudoctor.finding import Severity
from gpudoctor.layer import Layer
from gpudoctor.node.recorded import RecordedNode
from gpudoctor.report import Report


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.syspath_prepend(tmp_path)
    return fake_pack.written_to(tmp_path, f"pack_{tmp_path.name.replace('-', '_')}")


def scanned(node: RecordedNode, catalog: Catalog, **wish: object) -> Report:
    asked, began = Wish(**wish), time.monotonic()  # type: ignore[arg-type]
    return scan(node, catalog, asked, collecting(node, asked, began=began), began=began)


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


def test_a_cause_comes_first_and_its_symptom_is_folded_under(catalog: Catalog) -> None:
    report = scanned(fake_pack.node("friday13"), catalog)
    assert codes(report) == ["HOST_CURSED", "HOST_SLOW"]
    assert report.root_causes == (report.findings[0].id,)
    assert report.findings[1].caused_by == (report.findings[0].id,)
    assert (report.exit_code, report.verdict, report.host) == (1, "error", "friday13")
    assert [layer.layer for layer in report.layers] == ["kernel"]  # the others have no checks in this pack


def test_the_same_input_gives_the_same_ids(catalog: Catalog) -> None:
    first, second = (scanned(fake_pack.node("friday13"), catalog) for _ in range(2))
    assert [f.id for f in first.findings] == [f.id for f in second.findings]


def test_what_is_unread_is_not_clear(catalog: Catalog) -> None:
    report = scanned(fake_pack.node(), catalog)
    untold = [o for o in report.outcomes if o.outcome == "could_not_tell"]
    assert [o.check for o in untold] == ["HOST_LOG"]
    assert untold[0].reason
    assert report.exit_code == 0


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ({"checks": ("HOST_SLOW",)}, ["HOST_SLOW"]),
        ({"checks": ("HOST_*",)}, ["HOST_CURSED", "HOST_SLOW"]),
        ({"skip": ("HOST_CURSED",)}, ["HOST_SLOW"]),
        ({"skip": ("HOST_*",)}, []),
        ({"layers": (Layer.DRIVER,)}, []),
    ],
)
def test_checks_are_chosen_by_code_and_layer(catalog: Catalog, wish: dict[str, object], found: list[str]) -> None:
    assert codes(scanned(fake_pack.node("friday13"), catalog, **wish)) == found


def test_a_member_of_a_family_can_be_asked_for_and_skipped(catalog: Catalog) -> None:
    node = fake_pack.node("zapped")
    assert codes(scanned(node, catalog, checks=("ZAP_7",))) == ["ZAP_7"]
    assert codes(scanned(node, catalog, checks=("ZAP_8",))) == []
    assert codes(scanned(node, catalog, skip=("ZAP_7",))) == []


def test_an_unknown_code_is_refused_with_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(Refusal, match=r"no check is called 'HOST_CURSD'; did you mean HOST_CURSED") as refused:
        scanned(fake_pack.node(), catalog, checks=("HOST_CURSD",))
    assert refused.value.exit_code == 2


def test_an_unknown_gpu_is_refused(catalog: Catalog) -> None:
    with pytest.raises(Refusal, match="there is no GPU '9'"):
        scanned(fake_pack.node(), catalog, gpus=("9",))


@pytest.mark.parametrize(
    ("hostname", "wish", "code"),
    [
        ("gpu-a17", {}, 0),
        ("friday13", {"fail_on": Severity.CRITICAL}, 0),
        ("zapped", {}, 0),
        ("zapped", {"fail_on": Severity.WARNING}, 1),
        ("gpu-a17", {"require": (Layer.KERNEL,)}, 0),
        ("gpu-a17", {"require": (Layer.DRIVER,)}, 3),
        ("friday13", {"require": (Layer.DRIVER,)}, 1),
    ],
)
def test_exit_codes(catalog: Catalog, hostname: str, wish: dict[str, object], code: int) -> None:
    assert scanned(fake_pack.node(hostname), catalog, **wish).exit_code == code


def test_another_platform_is_named_and_not_asked(catalog: Catalog) -> None:
    report = scanned(fake_pack.node("friday13", platform="darwin"), catalog)
    assert (report.exit_code, report.verdict, report.machine.platform) == (0, "unknown", "darwin")
    assert {o.outcome for o in report.outcomes} == {"could_not_tell"}
    assert report.machine.gpus is None
    required = scanned(fake_pack.node(platform="darwin"), catalog, require=(Layer.KERNEL,))
    assert required.exit_code == 3


def test_facts_hold_every_kind_that_a_check_asks_for(catalog: Catalog) -> None:
    facts = every_fact(fake_pack.node(), catalog, 5.0, began=time.monotonic())
    names = {kind.__name__ for kind in facts.kinds()}
    assert {"Machine", "KernelLog"} <= names


@pytest.mark.parametrize(("since", "found"), [(None, 2), (2000.0, 1), (100.0, 0)])
def test_since_leaves_out_what_the_log_said_before(catalog: Catalog, since: float | None, found: int) -> None:
    xid = "NVRM: Xid (PCI:0000:3b:00): 79, pid=1, name=a, GPU has fallen off the bus."
    kmsg = f"4,1,100000000,-;{xid}\n4,2,5000000000,-;{xid}\n".encode()
    node = fake_pack.node(kmsg=kmsg, stat=f"btime {int(fake_pack.NOW) - 6000}\n".encode())
    report = scanned(node, catalog, checks=("HOST_LOG",), since_seconds=since)
    assert sum(len(finding.evidence) for finding in report.findings) == found


def test_a_gpu_is_named_by_index_or_bus_id() -> None:
    from gpudoctor.cli.scanning import gpu_subjects
    from gpudoctor.facts.fact import Facts
    from gpudoctor.facts.gpu import Gpu
    from gpudoctor.facts.pci import gpu_subject
    from gpudoctor.unread import Gap, Unread

    unread = dict.fromkeys(Gpu.__fact_fields__, Unread(Gap.UNSUPPORTED, "x"))
    bus_id = "0000:3b:00.0"
    known = {"subject": gpu_subject(bus_id, 0, ("0000:3a:00.0",)), "bus_id": bus_id, "index": 0}
    gpu = Gpu(**{**unread, **known})  # type: ignore[arg-type]
    subjects = gpu_subjects(Facts({Gpu: (gpu,)}))
    assert set(subjects) == {"0", bus_id}
    assert subjects["0"].within == ("0000:3a:00.0",)
