"""The kernel's counters of PCIe errors: aer_dev_correctable, aer_dev_nonfatal, aer_dev_fatal.

https://github.com/torvalds/linux/blob/master/Documentation/ABI/testing/sysfs-bus-pci-devices-aer_stats
"""

from __future__ import annotations

_SHORT = {  # what older kernels write, and what newer ones do
    "Receiver Error": "RxErr",
    "Bad TLP": "BadTLP",
    "Bad DLLP": "BadDLLP",
    "RELAY_NUM Rollover": "Rollover",
    "Replay Timer Timeout": "Timeout",
    "Advisory Non-Fatal": "NonFatalErr",
    "Corrected Internal Error": "CorrIntErr",
    "Header Log Overflow": "HeaderOF",
    "Data Link Protocol": "DLP",
    "Surprise Down Error": "SDES",
    "Poisoned TLP": "TLP",
    "Flow Control Protocol": "FCP",
    "Completion Timeout": "CmpltTO",
    "Completer Abort": "CmpltAbrt",
    "Unexpected Completion": "UnxCmplt",
    "Receiver Overflow": "RxOF",
    "Malformed TLP": "MalfTLP",
    "Unsupported Request": "UnsupReq",
    "ACS Violation": "ACSViol",
    "Uncorrectable Internal Error": "UncorrIntErr",
    "MC Blocked TLP": "BlockedTLP",
    "AtomicOp Egress Blocked": "AtomicOpBlocked",
    "TLP Prefix Blocked Error": "TLPBlockedErr",
}


def aer_counters(text: str) -> dict[str, int]:
    """By the kernel's short names, without the total, which counts messages and not errors."""
    rows = (line.strip().rpartition(" ") for line in text.splitlines())
    return {
        _SHORT.get(name.strip(), name.strip()): int(count)
        for name, _, count in rows
        if name.strip() and not name.startswith("TOTAL_") and count.isascii() and count.isdigit() and len(count) < 21
    }
