"""The commands and their options."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from gpudoctor import __version__
from gpudoctor.cli import options, say
from gpudoctor.cli.output import deliver, require_writable
from gpudoctor.cli.page import Front, Plain
from gpudoctor.cli.patient import catalog, patient
from gpudoctor.cli.printing import Look, facts_text, load_renderer, report_text
from gpudoctor.cli.spinner import working

FORMATS = ("terminal", "json", "markdown")
LISTS = ("terminal", "json")
PICTURES = ("terminal", "json", "dot", "svg")
PAGES = ("terminal", "json", "html")
HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

app = typer.Typer(
    cls=Front, rich_markup_mode=None, pretty_exceptions_enable=False, context_settings=HELP, invoke_without_command=True
)

Format = Annotated[str, typer.Option("--format", metavar="FORMAT", help="terminal, json or markdown.")]
PictureFormat = Annotated[str, typer.Option("--format", metavar="FORMAT", help="terminal, json, dot or svg.")]
ListFormat = Annotated[str, typer.Option("--format", metavar="FORMAT", help="terminal or json.")]
PageFormat = Annotated[str, typer.Option("--format", metavar="FORMAT", help="terminal, json or html.")]
Node = Annotated[str | None, typer.Option("--node", metavar="FILE", help="Read a recording instead of this machine.")]
Root = Annotated[str, typer.Option(metavar="DIR", help="Where the node's /proc, /sys, /dev and /etc are mounted.")]
Timeout = Annotated[str, typer.Option(metavar="TIME", help="The longest that the whole command takes: 20s, 1m.")]
Sample = Annotated[
    str, typer.Option(metavar="TIME", help="Read error counters twice, this far apart: 1s. Without it: since boot.")
]
Output = Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file, whole or not.")]
Ascii = Annotated[bool, typer.Option("--ascii", help="No box drawing and no glyphs beyond ASCII.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colour; so does the environment's NO_COLOR.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but what is found.")]
Silent = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing, unless it fails.")]


def _layers(incomplete: str) -> list[str]:
    from gpudoctor.layer import Layer

    return [str(layer) for layer in Layer if str(layer).startswith(incomplete)]


def _codes(incomplete: str) -> list[str]:
    return [code for code in catalog().codes if code.startswith(incomplete.upper())]


Layers = Annotated[
    list[str] | None, typer.Option("--layer", metavar="LAYER", help="Only this layer.", autocompletion=_layers)
]


def command() -> Any:
    return typer.main.get_command(app)


def _version(wanted: bool) -> None:
    if wanted:
        deliver(f"gpudoctor {__version__}\n", None)
        raise typer.Exit


@app.callback()
def front(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    """Says why a GPU node is broken or slow, what to do first, and what could not be seen."""
    if context.invoked_subcommand is None:
        deliver(context.get_help() + "\n", None)
        raise typer.Exit(2)


@app.command(cls=Plain)
def scan(
    layer: Layers = None,
    check: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Only this code; XID_* for many.", autocompletion=_codes)
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="All but this code; XID_* for many.", autocompletion=_codes)
    ] = None,
    gpu: Annotated[
        list[str] | None, typer.Option(metavar="N", help="Only this GPU, by index or bus id, and the node as a whole.")
    ] = None,
    node: Node = None,
    root: Root = "/",
    format: Format = "terminal",
    output: Output = None,
    fail_on: Annotated[
        str, typer.Option(metavar="LEVEL", help="Exit 1 from here on: info, warning, error or critical.")
    ] = "error",
    require: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER", help="Exit 3 where it could not be examined.", autocompletion=_layers),
    ] = None,
    timeout: Timeout = "20s",
    sample: Sample = "",
    since: Annotated[str, typer.Option(metavar="boot|TIME", help="How far back the kernel log counts: 2h, 3d.")] = (
        "boot"
    ),
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, show_default=False, help="All evidence; -vv every outcome.")
    ] = 0,
    ascii: Ascii = False,
    no_color: NoColor = False,
    quiet: Quiet = False,
) -> int:
    """Examine a node: what is wrong, what explains it, what to do first, what could not be seen.

    Nothing is changed: no CUDA context, no write, no network. As root it sees more.
    """
    began = time.monotonic()
    chosen = options.one_of("format", format, FORMATS)
    require_writable(output)
    wish = options.Wish(
        layers=options.layers("--layer", layer or ()),
        checks=options.codes("--check", check or ()),
        skip=options.codes("--skip", skip or ()),
        gpus=options.split("--gpu", gpu or ()),
        since_seconds=options.since(since),
        fail_on=options.severity(fail_on),
        require=options.layers("--require", require or ()),
        timeout_seconds=options.duration("--timeout", timeout),
    )
    with patient(
        "examining the node",
        recording=node,
        root=root,
        seconds=wish.timeout_seconds,
        sample=sample,
        quiet=quiet,
        ascii_only=ascii,
    ) as examined:
        from gpudoctor.cli.scanning import collecting
        from gpudoctor.cli.scanning import scan as examine
        from gpudoctor.report import unexamined

        facts_of = collecting(examined, wish, began=began)
        load_renderer(chosen)
        report = examine(examined, catalog(), wish, facts_of, began=began)
        look = Look(ascii, no_color, to_file=output is not None)
        text = report_text(report, chosen, look, verbosity=verbose, quiet=quiet)
    deliver(text, output)
    if missed := unexamined(report.layers, wish.require):
        say(f"--require {','.join(missed)}: no check could examine it")
    return report.exit_code


@app.command(cls=Plain)
def topo(
    format: PictureFormat = "terminal",
    node: Node = None,
    root: Root = "/",
    output: Output = None,
    timeout: Timeout = "20s",
    sample: Sample = "",
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, show_default=False, help="GPU processes, and all marks.")
    ] = 0,
    ascii: Ascii = False,
    no_color: NoColor = False,
) -> int:
    """One picture of the node: NUMA nodes, switches, GPUs, NICs, every link, and what is wrong where.

    The matrices below it are named as `nvidia-smi topo -m` names them. It exits 0 whatever is marked.
    """
    began = time.monotonic()
    chosen = options.one_of("format", format, PICTURES)
    require_writable(output)
    seconds = options.duration("--timeout", timeout)
    with patient(
        "looking at the node", recording=node, root=root, seconds=seconds, sample=sample, ascii_only=ascii
    ) as seen:
        from gpudoctor.cli.topo import picture_of, picture_text

        picture = picture_of(seen, catalog(), seconds, began=began)
        text = picture_text(picture, chosen, Look(ascii, no_color, to_file=output is not None), verbosity=verbose)
    deliver(text, output)
    return 0


@app.command(cls=Plain)
def memory(
    file: Annotated[str, typer.Argument(metavar="SNAPSHOT.pickle", help="Of torch.cuda.memory; .gz, .xz, .zst too.")],
    device: Annotated[
        str | None, typer.Option(metavar="N", help="Which device of the snapshot. Else the one that ran out of memory.")
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(metavar="SETTINGS", help="As in PYTORCH_ALLOC_CONF; default: none; all: many of them."),
    ] = None,
    cap: Annotated[
        str | None, typer.Option(metavar="SIZE", help="A limit as set_per_process_memory_fraction sets it: 6.6GiB.")
    ] = None,
    on_oom: Annotated[
        str, typer.Option(metavar="stop|skip", help="Whether a failed allocation ends the program.")
    ] = "stop",
    top: Annotated[str | None, typer.Option(metavar="N", help="Rows of each table.")] = None,
    format: PageFormat = "terminal",
    output: Output = None,
    fail_on: Annotated[
        str, typer.Option(metavar="LEVEL", help="Exit 1 from here on: info, warning, error or critical.")
    ] = "error",
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, show_default=False, help="All rows and all evidence.")
    ] = 0,
    ascii: Ascii = False,
    no_color: NoColor = False,
) -> int:
    """Explain a PyTorch memory snapshot: what filled the memory, and which settings would have made it fit.

    The recorded requests are replayed under other allocator settings, without a GPU. Without --what-if the
    sensible ones are tried. The file comes from torch.cuda.memory._dump_snapshot; nothing in it is ever run.
    """
    began = time.monotonic()
    chosen = options.one_of("format", format, PAGES)
    level = options.severity(fail_on)
    require_writable(output)
    from gpudoctor.cli import memory as explaining

    mode = options.one_of("way to go on after an OOM", on_oom, ("stop", "skip"))
    asked = explaining.question(device, what_if or (), cap, mode, top)
    snapshot, seen = explaining.read(file, asked.device, ascii_only=ascii)
    explanation = explaining.explained(file, snapshot, seen, asked, ascii_only=ascii)
    report = explaining.judged(explanation, catalog(), level, began=began)
    look = Look(ascii, no_color, to_file=output is not None)
    with working("drawing the page", ascii_only=ascii):
        text = explaining.memory_text(
            explanation, report, snapshot, seen, chosen, look, verbosity=verbose, rows=asked.rows
        )
    deliver(text, output)
    return report.exit_code


@app.command(cls=Plain)
def record(
    file: Annotated[str, typer.Argument(metavar="OUT.node", help="The file to write; - for stdout.")],
    redact: Annotated[bool, typer.Option("--redact/--no-redact", help="Leave out serials, names, addresses.")] = True,
    root: Root = "/",
    timeout: Timeout = "20s",
    sample: Sample = "",
    quiet: Silent = False,
) -> int:
    """Write down all that a scan reads, failures too, in one text file that anyone can examine.

    Serial numbers, UUID tails, host and user names, public addresses and unknown environment values are
    left out unless --no-redact is given.
    """
    began = time.monotonic()
    require_writable(file)
    seconds = options.duration("--timeout", timeout)
    with patient("recording the node", recording=None, root=root, seconds=seconds, sample=sample, quiet=quiet) as node:
        from gpudoctor.cli.recording import recorded_text

        text, surfaces = recorded_text(node, catalog(), seconds, began=began, redacted=redact)
    deliver(text, file)
    if not quiet:
        held = "redacted" if redact else "NOT redacted: it names this machine and its users"
        hint = "" if file == "-" else f"; examine it with: gpudoctor scan --node {file}"
        say(f"recorded {surfaces} surfaces{'' if file == '-' else f' in {file}'} ({held}){hint}")
    return 0


@app.command(cls=Plain)
def facts(
    format: ListFormat = "terminal",
    node: Node = None,
    root: Root = "/",
    output: Output = None,
    timeout: Timeout = "20s",
    sample: Sample = "",
    ascii: Ascii = False,
    no_color: NoColor = False,
) -> int:
    """What is known of this node, and for what could not be read, why."""
    began = time.monotonic()
    chosen = options.one_of("format", format, LISTS)
    require_writable(output)
    seconds = options.duration("--timeout", timeout)
    with patient(
        "reading the node", recording=node, root=root, seconds=seconds, sample=sample, ascii_only=ascii
    ) as examined:
        from gpudoctor.cli.scanning import every_fact

        held = every_fact(examined, catalog(), seconds, began=began)
        text = facts_text(held, chosen, Look(ascii, no_color, to_file=output is not None))
    deliver(text, output)
    return 0


@app.command(cls=Plain)
def explain(
    what: Annotated[
        list[str],
        typer.Argument(metavar="CODE", help="XID_79, 79, sxid 12028, or a GPU's name.", autocompletion=_codes),
    ],
    format: Format = "terminal",
    ascii: Ascii = False,
    no_color: NoColor = False,
) -> int:
    """Explain a code, an Xid or SXid number, or the name of a GPU. Works offline.

    For example: gpudoctor explain XID_79, explain 79, explain sxid 12028, explain "NVIDIA H200".
    """
    chosen = options.one_of("format", format, FORMATS)
    from gpudoctor.cli.explaining import explained

    deliver(explained(" ".join(what), catalog(), chosen, Look(ascii, no_color)), None)
    return 0


@app.command(cls=Plain)
def checks(
    format: ListFormat = "terminal",
    layer: Layers = None,
    ascii: Ascii = False,
    no_color: NoColor = False,
    write_docs: Annotated[str | None, typer.Option(metavar="DIR", hidden=True)] = None,
) -> int:
    """Everything that can be found, by layer: on a node, and in a memory snapshot."""
    chosen = options.one_of("format", format, LISTS)
    wanted = options.layers("--layer", layer or ())
    from gpudoctor.cli import listing

    if write_docs is not None:
        listing.write_docs(catalog(), write_docs)
        return 0
    deliver(listing.checks_text(catalog(), chosen, wanted, Look(ascii, no_color)), None)
    return 0
