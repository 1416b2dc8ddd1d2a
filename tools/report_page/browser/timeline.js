// What the timeline shows and of which time; how it is drawn is in timeline_view.js.

class Timeline {
  constructor(data) {
    this.data = data;
    this.at = Float64Array.from(data.at);
    this.took = Float64Array.from(data.took);
    this.rows = data.lanes.map(() => data.rows.map(() => ({records: [], longest: 0, bins: []})));
    this.at.forEach((_, index) => {
      const row = this.rows[data.lane[index]][data.row[index]];
      row.records.push(index);
      row.longest = Math.max(row.longest, this.took[index]);
    });
    for (const [lane, row, at, count] of data.bins ? data.bins.rows : []) {
      this.rows[lane][row].bins.push([at, count]);
    }
    this.most = Math.max(1, ...this.rows.flat().map((row) => row.bins.reduce((most, bin) => Math.max(most, bin[1]), 0)));
    this.whole();
  }

  whole() {
    this.show(0, this.data.span);
  }

  // Show a stretch of time: no longer than all of it, no shorter than can be told apart.
  show(from, to) {
    const length = Math.min(Math.max(to - from, Math.min(20, this.data.span)), this.data.span);
    this.from = Math.min(Math.max(from, 0), this.data.span - length);
    this.to = this.from + length;
  }

  // Shorter than one: nearer. What is at `centre` stays where it is.
  zoom(factor, centre = (this.from + this.to) / 2) {
    const length = Math.min(Math.max((this.to - this.from) * factor, Math.min(20, this.data.span)), this.data.span);
    const share = (centre - this.from) / (this.to - this.from);
    this.show(centre - share * length, centre - share * length + length);
  }

  // By a share of what is shown.
  pan(share) {
    const by = share * (this.to - this.from);
    this.show(this.from + by, this.to + by);
  }

  // The place in `records` of the first that begins at `time` or later.
  first(records, time) {
    let [low, high] = [0, records.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.at[records[middle]] < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Calls `each` with the records of a row that are in sight, in their order.
  visible(row, each) {
    for (let place = this.first(row.records, this.from - row.longest); place < row.records.length; place += 1) {
      const index = row.records[place];
      if (this.at[index] > this.to) return;
      if (this.at[index] + this.took[index] >= this.from) each(index);
    }
  }

  // All records that are in sight, up to so many, in the order of time.
  listed(most) {
    const found = [];
    for (let index = 0; index < this.at.length && found.length < most; index += 1) {
      if (this.at[index] > this.to) break;
      if (this.at[index] + this.took[index] >= this.from) found.push(index);
    }
    return found;
  }

  // The record of a row that is nearest to a time, if one is within `reach` of it.
  nearest(row, time, reach) {
    let best = -1;
    let distance = reach;
    this.visible(row, (index) => {
      const begin = this.at[index];
      const away = Math.max(begin - time, time - begin - this.took[index], 0);
      if (away <= distance) [best, distance] = [index, away];
    });
    return best;
  }

  // The record after (1) or before (-1) another one; without one the first in sight.
  next(selected, direction) {
    if (selected >= 0) return Math.min(Math.max(selected + direction, 0), this.at.length - 1);
    const [first] = this.listed(1);
    return first === undefined ? -1 : first;
  }

  // Bring a record into sight.
  reveal(index) {
    if (this.at[index] >= this.from && this.at[index] <= this.to) return;
    const length = this.to - this.from;
    this.show(this.at[index] - length / 2, this.at[index] + length / 2);
  }
}
