// The block map. An address keeps its place on the map for all of the record, so that stepping moves nothing about.
const ROW = 15, BETWEEN = 3, LABEL = 24, MOST_TALL = 460;

class BlockMap {
  constructor(rec, { canvas, box, space }, chosen) {
    Object.assign(this, { rec, canvas, box, space, chosen, rows: 18, selected: null, mode: "stack" });
    this.groups = rec.texts.kinds.map((_, kind) => ({ kind, spans: this.everReserved(kind) })).filter((group) => group.spans.length);
    for (const group of this.groups) group.bytes = group.spans.reduce((sum, span) => sum + span.end - span.start, 0);
    this.groups.sort((a, b) => b.bytes - a.bytes);
    this.ranks = this.ranked();
    if (!rec.texts.lines.length) this.mode = "size";
    box.addEventListener("scroll", () => this.draw());
    canvas.addEventListener("click", (event) => this.clicked(event));
    box.addEventListener("keydown", (event) => this.pressed(event));
  }

  everReserved(kind) {
    const { rec } = this, found = [];
    for (let row = 0; row < rec.rangeKind.length; row++)
      if (rec.rangeKind[row] === kind) found.push({ start: rec.rangeAddress[row], end: rec.rangeAddress[row] + rec.rangeSize[row] });
    found.sort((a, b) => a.start - b.start);
    const spans = [];
    for (const each of found) {
      const last = spans[spans.length - 1];
      if (last && each.start <= last.end) last.end = Math.max(last.end, each.end);
      else spans.push({ ...each });
    }
    return spans;
  }

  // The stacks that hold most, over all blocks and how long they lived, have colours of their own.
  ranked() {
    const { rec } = this, held = new Float64Array(rec.texts.lines.length);
    for (let block = 0; block < rec.blocks; block++) {
      const stack = rec.stackOf(block);
      if (stack >= 0) held[stack] += rec.size[block] * ((rec.ended[block] < 0 ? rec.steps : rec.ended[block]) - rec.born[block]);
    }
    const ranks = new Int32Array(held.length).fill(-1);
    [...held.keys()].sort((a, b) => held[b] - held[a]).slice(0, 10).forEach((stack, rank) => (ranks[stack] = rank));
    return ranks;
  }

  layout() {
    this.wide = Math.max(120, this.box.clientWidth);
    const all = this.groups.reduce((sum, group) => sum + group.bytes, 0);
    let top = 0;
    for (const group of this.groups) {
      group.rows = Math.max(1, Math.round((this.rows * group.bytes) / all));
      const pixels = group.rows * this.wide;
      group.gap = group.spans.length * 3 < pixels / 4 ? 3 : 0;
      group.scale = group.bytes / Math.max(1, pixels - group.gap * (group.spans.length - 1)); // bytes a pixel
      let at = 0;
      for (const span of group.spans) {
        span.at = at;
        at += (span.end - span.start) / group.scale + group.gap;
      }
      group.top = top + LABEL;
      top = group.top + group.rows * (ROW + BETWEEN) + 6;
    }
    this.tall = top;
    this.space.style.height = `${top}px`;
    this.seen = Math.min(top, MOST_TALL);
    this.box.style.height = `${this.seen}px`;
    this.canvas.style.height = `${this.seen}px`;
    this.canvas.style.width = `${this.wide}px`;
  }

  span(group, address) {
    let low = 0, high = group.spans.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (group.spans[middle].start <= address) low = middle + 1;
      else high = middle;
    }
    return group.spans[low - 1];
  }

  // The pieces of a stretch of addresses, one for each row that it reaches into and that is in sight.
  pieces(group, start, end, paint) {
    const span = this.span(group, start), scroll = this.box.scrollTop;
    let from = span.at + (start - span.start) / group.scale;
    const until = span.at + (end - span.start) / group.scale;
    for (let row = Math.floor(from / this.wide); row < group.rows && from < until; row++) {
      const to = Math.min(until, (row + 1) * this.wide), y = group.top + row * (ROW + BETWEEN) - scroll;
      if (y > this.seen) break;
      if (y > -ROW && to > from) paint(from - row * this.wide, y, to - from);
      from = to;
    }
  }

  draw() {
    if (!this.wide) this.layout();
    const { pen } = fitted(this.canvas, this.wide, this.seen), colour = colours(this.canvas), scroll = this.box.scrollTop;
    this.hatching ??= {};
    const hatch = hatched(pen, colour.free, colour.hatch), waiting = hatched(pen, "transparent", colour.card, true);
    pen.font = colour.font;
    for (const group of this.groups) {
      pen.fillStyle = colour.dim;
      const y = group.top - 7 - scroll;
      if (y > -10 && y < this.seen + 10)
        pen.fillText(clipped(pen, `${kindWords(this.rec, group.kind)}: a row is ${sizeWords(Math.round(group.scale * this.wide))}`, this.wide), 0, y);
      for (const span of group.spans) this.pieces(group, span.start, span.end, (x, y, wide) => {
        pen.fillStyle = colour.none;
        pen.fillRect(x, y + ROW / 2 - 0.5, wide, 1);
      });
    }
    for (const range of this.rec.ranges.held) this.drawRange(pen, range, colour, hatch, waiting);
    if (this.selected) this.outline(pen, this.selected, colour);
  }

  drawRange(pen, range, colour, hatch, waiting) {
    const group = this.groups.find((each) => each.kind === range.kind);
    this.pieces(group, range.start, range.end, (x, y, wide) => {
      pen.fillStyle = hatch;
      pen.fillRect(x, y, wide, ROW);
    });
    for (const part of this.rec.parts(range)) {
      if (part.block < 0) continue;
      const style = this.style(part.block, colour), pending = this.rec.state[part.block] === PENDING;
      this.pieces(group, part.start, Math.min(part.end, range.end), (x, y, wide) => {
        const drawn = wide > 3 ? wide - 0.75 : wide; // a hair between neighbours
        pen.fillStyle = style;
        pen.fillRect(x, y, drawn, ROW);
        if (!pending) return;
        pen.fillStyle = waiting;
        pen.fillRect(x, y, drawn, ROW);
      });
    }
    pen.strokeStyle = colour.dim;
    pen.lineWidth = 1;
    this.pieces(group, range.start, range.end, (x, y, wide) => wide > 2 && pen.strokeRect(x + 0.5, y + 0.5, wide - 1, ROW - 1));
  }

  style(block, colour) {
    const { rec } = this;
    if (this.mode === "size") return colour.steps[sizeClass(rec.size[block])];
    if (this.mode === "age") {
      const age = rec.step - Math.max(0, rec.born[block]);
      return colour.steps[rec.born[block] < 0 ? 5 : Math.min(5, Math.floor((6 * age) / (rec.step + 1)))];
    }
    const stack = rec.stackOf(block), rank = stack < 0 ? -1 : this.ranks[stack];
    return rank < 0 ? colour.stacks[10 + (block % 2)] : colour.stacks[rank];
  }

  outline(pen, part, colour) {
    const group = this.groups.find((each) => each.kind === part.range.kind);
    this.pieces(group, part.start, Math.min(part.end, part.range.end), (x, y, wide) => {
      pen.strokeStyle = colour.card;
      pen.lineWidth = 4;
      pen.strokeRect(x, y + 1, Math.max(2, wide - 1), ROW - 2);
      pen.strokeStyle = colour.ink;
      pen.lineWidth = 2;
      pen.strokeRect(x, y + 1, Math.max(2, wide - 1), ROW - 2);
    });
  }

  partAt(x, y) {
    y += this.box.scrollTop;
    for (const group of this.groups) {
      const row = Math.floor((y - group.top) / (ROW + BETWEEN));
      if (row < 0 || row >= group.rows || y < group.top) continue;
      const at = row * this.wide + x;
      const span = group.spans.filter((each) => each.at <= at).pop();
      if (!span) return null;
      const address = span.start + (at - span.at) * group.scale;
      const range = this.rec.ranges.held[this.rec.ranges.at(address)];
      if (!range || range.kind !== group.kind || address >= range.end) return null;
      for (const part of this.rec.parts(range)) if (address < part.end) return part;
    }
    return null;
  }

  clicked(event) {
    this.select(this.partAt(event.offsetX, event.offsetY));
    this.box.focus({ preventScroll: true });
  }

  select(part) {
    this.selected = part;
    this.chosen(part);
    this.draw();
  }

  // After a step: the same block, where it still lives.
  refresh() {
    const was = this.selected;
    this.selected = null;
    if (was && was.block >= 0 && this.rec.state[was.block]) {
      const range = this.rec.ranges.held[this.rec.ranges.at(was.start)];
      this.selected = { ...was, range };
    }
    this.chosen(this.selected);
    this.draw();
  }

  *all() {
    for (const range of this.rec.ranges.held) yield* this.rec.parts(range);
  }

  pressed(event) {
    if (!["ArrowLeft", "ArrowRight", "Escape"].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (event.key === "Escape") return this.select(null);
    const parts = [...this.all()], at = this.selected ? parts.findIndex((part) => part.start === this.selected.start) : -1;
    const next = event.key === "ArrowRight" ? at + 1 : at < 0 ? parts.length - 1 : at - 1;
    if (parts[next]) {
      this.reveal(parts[next]);
      this.select(parts[next]);
    }
  }

  reveal(part) {
    const group = this.groups.find((each) => each.kind === part.range.kind), span = this.span(group, part.start);
    const row = Math.floor((span.at + (part.start - span.start) / group.scale) / this.wide), y = group.top + row * (ROW + BETWEEN);
    if (y < this.box.scrollTop || y + ROW > this.box.scrollTop + this.seen) this.box.scrollTop = y - this.seen / 2;
  }

  finer(factor) {
    this.rows = Math.min(4096, Math.max(6, Math.round(this.rows * factor)));
    const part = this.selected;
    this.layout();
    if (part) this.reveal(part);
    this.draw();
  }
}

const CLASSES = [2 ** 20, 10 * 2 ** 20, 2 ** 26, 2 ** 28, 2 ** 30];
function sizeClass(size) {
  const found = CLASSES.findIndex((most) => size <= most);
  return found < 0 ? CLASSES.length : found;
}

function hatched(pen, ground, ink, across = false) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const brush = tile.getContext("2d");
  brush.fillStyle = ground;
  brush.fillRect(0, 0, 6, 6);
  brush.strokeStyle = ink;
  brush.lineWidth = across ? 1.6 : 1;
  for (const shift of [-6, 0, 6]) {
    brush.beginPath();
    brush.moveTo(shift - 1, across ? -1 : 7);
    brush.lineTo(shift + 7, across ? 7 : -1);
    brush.stroke();
  }
  return pen.createPattern(tile, "repeat");
}

function clipped(pen, words, wide) {
  while (words.length > 4 && pen.measureText(words).width > wide) words = words.slice(0, -2).trimEnd() + "…";
  return words;
}
