// Numbers as people read them. Times are nanoseconds.

function counted(number) {
  return number.toLocaleString('en');
}

function plural(number, word) {
  return `${counted(number)} ${word}${number === 1 ? '' : 's'}`;
}

function hex(number) {
  return `0x${number.toString(16)}`;
}

function duration(time) {
  for (const [unit, size] of [['s', 1e9], ['ms', 1e6], ['us', 1e3]]) {
    if (time >= size) return `${Number((time / size).toPrecision(3))} ${unit}`;
  }
  return `${Math.round(time)} ns`;
}

// Seconds, with as many digits as a `step` of time needs. `base` is a text: it may have more digits than a number.
function clock(base, offset, step = 1) {
  const all = (BigInt(base) + BigInt(Math.round(offset))).toString().padStart(10, '0');
  const digits = Math.min(9, Math.max(0, 9 - Math.floor(Math.log10(Math.max(step, 1)))));
  return all.slice(0, -9) + (digits ? `.${all.slice(-9, -9 + digits || undefined)}` : '');
}

// A domain by its number, with its name where one is known.
function domain(names, domid) {
  if (domid < 0) return 'others';
  const name = names.get(domid);
  return `d${domid}${name ? ` (${name})` : ''}`;
}
