// The record: every block's life, what is reserved, and the state before any step.
const ALLOC = 0, FREE = 1, LET_GO = 2, FREED = 3, MADE = 4, GIVEN_BACK = 5, MAPPED = 6, UNMAPPED = 7, FAILED = 8;
const GONE = 0, ALLOCATED = 1, PENDING = 2;

// Sorted, apart from each other. Parts of an expandable segment that touch are one.
class Ranges {
  constructor(held = []) {
    this.held = held;
  }
  copy() {
    return new Ranges(this.held.slice());
  }
  at(address) { // the last that begins at or below
    let low = 0, high = this.held.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.held[middle].start <= address) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
  add(start, end, kind, joins) {
    this.remove(start, end);
    let place = this.at(start) + 1, count = 0;
    const after = this.held[place], before = this.held[place - 1];
    if (joins && after && after.start === end && after.kind === kind) {
      end = after.end;
      count = 1;
    }
    if (joins && before && before.end === start && before.kind === kind) {
      start = before.start;
      place--;
      count++;
    }
    this.held.splice(place, count, { start, end, kind });
  }
  remove(start, end) {
    const first = Math.max(0, this.at(start));
    let last = first;
    const left = [];
    for (; last < this.held.length && this.held[last].start < end; last++) {
      const each = this.held[last];
      if (each.end <= start) left.push(each);
      else {
        if (each.start < start) left.push({ start: each.start, end: start, kind: each.kind });
        if (each.end > end) left.push({ start: end, end: each.end, kind: each.kind });
      }
    }
    this.held.splice(first, last - first, ...left);
  }
}

class Record {
  constructor(data) {
    Object.assign(this, data);
    const { texts } = data;
    this.steps = texts.steps;
    this.blocks = texts.blocks;
    this.size = this.requested.map((requested, block) => requested + this.extra[block]);
    this.which = new Int32Array(this.steps).fill(-1); // a block, a row of the ranges, or a failure
    this.born = new Int32Array(this.blocks).fill(-1);
    this.letGo = new Int32Array(this.blocks).fill(-1);
    this.ended = new Int32Array(this.blocks).fill(-1);
    this.link();
    this.state = new Uint8Array(this.blocks);
    this.ranges = this.firstRanges();
    this.step = 0;
    for (let block = 0; block < texts.present; block++) this.state[block] = ALLOCATED;
    for (const block of texts.waiting) this.state[block] = PENDING;
    this.run();
    this.byAddress = Int32Array.from(this.address.keys()).sort((a, b) => this.address[a] - this.address[b] || a - b);
    this.sortedAddress = Float64Array.from(this.byAddress, (block) => this.address[block]);
  }

  link() {
    let next = this.texts.present, back = 0, move = this.texts.ranges, failure = 0;
    for (let step = 0; step < this.steps; step++) {
      const kind = this.kind[step];
      if (kind === ALLOC) {
        this.born[next] = step;
        this.which[step] = next++;
      } else if (kind <= FREED) {
        const block = (this.which[step] = next - this.back[back++]);
        if (kind === LET_GO) this.letGo[block] = step;
        else this.ended[block] = step;
      } else this.which[step] = kind === FAILED ? failure++ : move++;
    }
  }

  firstRanges() {
    const ranges = new Ranges();
    for (let row = 0; row < this.texts.ranges; row++) this.grow(ranges, row);
    return ranges;
  }

  grow(ranges, row) {
    const start = this.rangeAddress[row], kind = this.rangeKind[row];
    ranges.add(start, start + this.rangeSize[row], kind, this.texts.kinds[kind][3]);
  }

  // Once from the first step to the last: the sums at every step, and the state at some.
  run() {
    const count = this.steps + 1;
    this.sums = { requested: new Float64Array(count), allocated: new Float64Array(count), reserved: new Float64Array(count) };
    this.every = Math.max(4096, Math.ceil(this.steps / 200));
    this.kept = [];
    const { requested, allocated, reserved } = this.sums;
    for (let block = 0; block < this.texts.present; block++) {
      if (this.state[block] === PENDING) continue;
      requested[0] += this.requested[block];
      allocated[0] += this.size[block];
    }
    for (let row = 0; row < this.texts.ranges; row++) reserved[0] += this.rangeSize[row];
    for (let step = 0; step < this.steps; step++) {
      if (step % this.every === 0) this.kept.push(this.keptNow());
      let asked = 0, held = 0, range = 0;
      const kind = this.kind[step], which = this.which[step];
      if (kind === ALLOC) {
        asked = this.requested[which];
        held = this.size[which];
      } else if (kind <= FREED) {
        if (this.state[which] === ALLOCATED) {
          asked = -this.requested[which];
          held = -this.size[which];
        }
      } else if (kind === MADE || kind === MAPPED) range = this.rangeSize[which];
      else if (kind !== FAILED) range = -this.rangeSize[which];
      requested[step + 1] = requested[step] + asked;
      allocated[step + 1] = allocated[step] + held;
      reserved[step + 1] = reserved[step] + range;
      this.forward();
    }
  }

  keptNow() {
    let count = 0;
    for (let block = 0; block < this.blocks; block++) if (this.state[block]) count++;
    const live = new Int32Array(count);
    for (let block = 0, place = 0; block < this.blocks; block++)
      if (this.state[block]) live[place++] = block * 2 + (this.state[block] === PENDING ? 1 : 0);
    return { step: this.step, live, ranges: this.ranges.copy() };
  }

  forward() {
    const step = this.step++, kind = this.kind[step], which = this.which[step];
    if (kind === ALLOC) this.state[which] = ALLOCATED;
    else if (kind === FREE || kind === FREED) this.state[which] = GONE;
    else if (kind === LET_GO) this.state[which] = PENDING;
    else if (kind === MADE || kind === MAPPED) this.grow(this.ranges, which);
    else if (kind !== FAILED) {
      const start = this.rangeAddress[which];
      this.ranges.remove(start, start + this.rangeSize[which]);
    }
  }

  // The state before this step; `steps` is the one after the last.
  seek(step) {
    step = Math.max(0, Math.min(this.steps, Math.round(step)));
    if (this.kept.length && (step < this.step || step - this.step > this.every)) {
      const kept = this.kept[Math.min(this.kept.length - 1, Math.floor(step / this.every))];
      this.state.fill(GONE);
      for (const live of kept.live) this.state[live >> 1] = live & 1 ? PENDING : ALLOCATED;
      this.ranges = kept.ranges.copy();
      this.step = kept.step;
    }
    while (this.step < step) this.forward();
  }

  stepAt(place) { // the first step at or after an event
    return lowerBound(this.place, place);
  }

  // Blocks and holes of a range, in address order.
  *parts(range) {
    let end = range.start;
    for (let place = lowerBound(this.sortedAddress, range.start); place < this.blocks; place++) {
      const block = this.byAddress[place], start = this.sortedAddress[place];
      if (start >= range.end) break;
      if (!this.state[block]) continue;
      if (start > end) yield { block: -1, start: end, end: start, range };
      end = start + this.size[block];
      yield { block, start, end, range };
    }
    if (range.end > end) yield { block: -1, start: end, end: range.end, range };
  }

  holes() {
    let free = 0, largest = 0;
    for (const range of this.ranges.held) {
      for (const { block, start, end } of this.parts(range)) {
        if (block >= 0) continue;
        free += end - start;
        largest = Math.max(largest, end - start);
      }
    }
    return { free, largest };
  }

  stackOf(block) {
    return this.stack[block] - 1; // -1: none
  }

  absolute(address) {
    return "0x" + (BigInt("0x" + this.texts.base) + BigInt(address)).toString(16);
  }
}

function lowerBound(sorted, value) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
