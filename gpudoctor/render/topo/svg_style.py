"""How the SVG looks, by day and by night. Every rule is bound to it, so that a page may hold it inline."""

from __future__ import annotations

DAY = (
    "--page:#f6f7f9;--card:#fff;--edge:#d9dee5;--ink:#1d2530;--dim:#5c6877;--wire:#a9b3c0;--box:#fbfcfd;"
    "--gpu:#2f8f5b;--nic:#2b6cb0;--other:#8a94a3;--fabric:#7a55b5;--bad:#b42318;--badfill:#fdeceb;--warn:#8a5a00;"
    "--warnfill:#fdf3dc;--near:47,143,91"
)
NIGHT = (
    "--page:#12161b;--card:#1a2027;--edge:#303945;--ink:#e3e8ee;--dim:#98a4b3;--wire:#566273;--box:#1f262f;"
    "--gpu:#4cc38a;--nic:#63a4f0;--other:#7c8898;--fabric:#ab8be0;--bad:#ff8d85;--badfill:#3a1f20;--warn:#f0c46a;"
    "--warnfill:#352b16;--near:76,195,138"
)
FONT = 'ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace'
RULES = {
    "text": f"font-family:{FONT};fill:var(--ink);white-space:pre",
    ".head": "font-size:15px;font-weight:700",
    ".title": "font-size:13px;font-weight:700",
    ".label": "font-size:12px;font-weight:700",
    ".small": "font-size:11px",
    ".cell": "font-size:10px",
    ".dim": "fill:var(--dim)",
    ".unknown": "fill:var(--dim)",
    ".strong": "font-weight:700",
    ".page": "fill:var(--page)",
    ".card": "fill:var(--card);stroke:var(--edge)",
    ".box": "fill:var(--box);stroke:var(--edge)",
    ".wire": "fill:none;stroke:var(--wire)",
    ".bar": "fill:var(--other)",
    ".bar.gpu": "fill:var(--gpu)",
    ".bar.nic": "fill:var(--nic)",
    ".bar.nvswitch": "fill:var(--fabric)",
    ".way": "fill:none",
    ".way.NV": "fill:rgba(var(--near),.38)",
    ".way.XGMI": "fill:rgba(var(--near),.38)",
    ".way.PIX": "fill:rgba(var(--near),.30)",
    ".way.PXB": "fill:rgba(var(--near),.22)",
    ".way.PHB": "fill:rgba(var(--near),.15)",
    ".way.NODE": "fill:rgba(var(--near),.09)",
    ".way.SYS": "fill:rgba(138,148,163,.12)",
    "text.critical": "fill:var(--bad);font-weight:700",
    "text.error": "fill:var(--bad);font-weight:700",
    "text.warning": "fill:var(--warn);font-weight:700",
    "text.symptom": "fill:var(--warn)",
    "rect.critical": "fill:var(--badfill);stroke:var(--bad);stroke-width:2",
    "rect.error": "fill:var(--badfill);stroke:var(--bad);stroke-width:2",
    "rect.warning": "fill:var(--warnfill);stroke:var(--warn);stroke-width:2",
    "rect.symptom": "stroke:var(--warn)",
}
STYLE = (
    f".topo{{{DAY};color-scheme:light dark;max-width:100%;height:auto}}"
    f"@media (prefers-color-scheme:dark){{.topo{{{NIGHT}}}}}"
    + "".join(f".topo {selector}{{{rule}}}" for selector, rule in RULES.items())
)
