// As words.py says it.
function sizeWords(bytes) {
  const sign = bytes < 0 ? "-" : "", count = Math.abs(bytes);
  for (const [unit, scale] of [["TiB", 2 ** 40], ["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 1024]]) {
    if (count < scale) continue;
    const amount = count / scale;
    if (Number.isInteger(amount)) return `${sign}${amount} ${unit}`;
    return `${sign}${amount.toFixed(amount < 9.995 ? 2 : amount < 99.95 ? 1 : 0)} ${unit}`;
  }
  return `${sign}${count} B`;
}

function thousands(number) {
  return Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

function durationWords(microseconds) {
  const seconds = microseconds / 1e6;
  if (seconds < 1) return `${+(seconds * 1e3).toPrecision(3)} ms`;
  if (seconds < 120) return `${+seconds.toPrecision(3)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function kindWords(rec, kind) {
  const [stream, pool, small, expandable] = rec.texts.kinds[kind];
  const words = [expandable ? "expandable" : "", small ? "small pool" : "large pool"];
  if (new Set(rec.texts.kinds.map((each) => each[0])).size > 1 || stream !== "0") words.push(`stream ${stream}`);
  if (pool[0] || pool[1]) words.push(`private pool ${pool[0]},${pool[1]}`);
  return words.filter(Boolean).join(", ");
}

function stackWords(rec, stack) {
  return stack < 0 ? "no stack was recorded" : rec.texts.lines[stack];
}

function stepWords(rec, step) {
  if (step >= rec.steps) return "nothing more was recorded";
  const kind = rec.kind[step], which = rec.which[step];
  if (kind === FAILED) return `asks for ${sizeWords(rec.failed[2 * which])} and does not get it: out of memory`;
  if (kind >= MADE) {
    const verb = { [MADE]: "makes a segment of", [GIVEN_BACK]: "gives back a segment of", [MAPPED]: "maps", [UNMAPPED]: "unmaps" };
    return `${verb[kind]} ${sizeWords(rec.rangeSize[which])}`;
  }
  const verb = ["allocates", "frees", "frees, while another stream may still use it,", "another stream is done with"][kind];
  const stack = rec.stackOf(which);
  return `${verb} ${sizeWords(rec.requested[which])}` + (stack < 0 ? "" : `: ${rec.texts.lines[stack]}`);
}
