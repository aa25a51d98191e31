// Columns as payload.py packs them.
async function inflated(text) {
  const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function varints(bytes) {
  let count = 0;
  for (let i = 0; i < bytes.length; i++) if (bytes[i] < 0x80) count++;
  const numbers = new Float64Array(count);
  let place = 0;
  for (let i = 0; i < count; i++) {
    let number = 0, scale = 1, byte;
    do {
      byte = bytes[place++];
      number += (byte & 0x7f) * scale; // not <<, which ends at 32 bits
      scale *= 128;
    } while (byte > 0x7f);
    numbers[i] = number;
  }
  return numbers;
}

function signed(numbers) {
  for (let i = 0; i < numbers.length; i++) {
    const number = numbers[i];
    numbers[i] = number % 2 ? -(number + 1) / 2 : number / 2;
  }
  return numbers;
}

function summed(numbers) {
  signed(numbers);
  for (let i = 1; i < numbers.length; i++) numbers[i] += numbers[i - 1];
  return numbers;
}

async function decoded(payload) {
  const bytes = {};
  await Promise.all(Object.entries(payload.columns).map(async ([name, text]) => (bytes[name] = await inflated(text))));
  const texts = JSON.parse(new TextDecoder().decode(await inflated(payload.texts)));
  const scaled = (numbers) => (texts.unit === 1 ? numbers : numbers.map((number) => number * texts.unit));
  return {
    texts,
    address: scaled(summed(varints(bytes.address))),
    requested: varints(bytes.requested),
    extra: signed(varints(bytes.extra)),
    stack: varints(bytes.stack),
    kind: bytes.kind,
    place: summed(varints(bytes.place)),
    time: summed(varints(bytes.time)),
    back: varints(bytes.back),
    rangeAddress: scaled(summed(varints(bytes.range_address))),
    rangeSize: varints(bytes.range_size),
    rangeKind: varints(bytes.range_kind),
    failed: varints(bytes.failed),
  };
}
