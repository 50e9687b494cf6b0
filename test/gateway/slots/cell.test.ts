import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { Cell, DOOMED, DRAINING, SUSPECT } from '../../../gateway/slots/cell.ts';
import { Rows, sharedRows } from '../../../gateway/slots/rows.ts';

function cells(count: number): Cell[] {
  const memory = sharedRows(count);
  return Array.from({ length: count }, () => new Cell(new Rows(memory), 'one'));
}

/** A freezer that notes what is written; `during` happens while it freezes. */
function freezer(during: () => void = () => {}) {
  const state = { isFrozen: false };
  return {
    state,
    freeze: () => {
      state.isFrozen = true;
      during();
      return true;
    },
    thaw: () => void (state.isFrozen = false),
  };
}

describe('an instance that threads share', () => {
  it('has no more slots than its concurrency, whoever takes them', () => {
    const [a, b] = cells(2) as [Cell, Cell];
    expect([a.take(2), b.take(2), a.take(2), b.take(2)]).toEqual([true, true, false, false]);
    b.release(0);
    expect(a.inFlight).toBe(1);
    expect(a.take(2)).toBe(true);
  });

  it('is drained only if nobody has anything in flight', () => {
    const [a, b] = cells(2) as [Cell, Cell];
    a.take(1);
    expect(b.drainIfIdle()).toBe(false);
    a.release(0);
    expect(b.drainIfIdle()).toBe(true);
    expect(a.take(1)).toBe(false);
  });

  it('takes no more while it is suspect, and goes on when it is trusted again', () => {
    const [a, b] = cells(2) as [Cell, Cell];
    expect([a.suspect(), b.suspect()]).toEqual([true, false]);
    expect(b.take(1)).toBe(false);
    expect(b.has(SUSPECT)).toBe(true);
    b.trust();
    expect(a.take(1)).toBe(true);
    a.mark(DOOMED);
    a.trust();
    expect(b.take(9)).toBe(false);
  });

  it('tells whether anything ran beside an invocation or since', () => {
    const [a, b] = cells(2) as [Cell, Cell];
    a.take(2);
    expect(a).toMatchObject({ wasIdle: true, takenBefore: 0, wasUsed: false, taken: 1 });
    b.take(2);
    expect(b).toMatchObject({ wasIdle: false, takenBefore: 1, wasUsed: true });
    expect(a.taken - a.takenBefore).toBe(2);
  });
});

describe('freezing', () => {
  it('waits until the instance has been idle for long enough, in all threads', () => {
    const [a, b] = cells(2) as [Cell, Cell];
    const ice = freezer();
    const now = performance.now();
    a.take(1);
    b.rest(now + 5000, 1000, ice);
    a.release(now + 4500);
    b.rest(now + 5000, 1000, ice);
    expect(ice.state.isFrozen).toBe(false);
    b.rest(now + 5501, 1000, ice);
    expect(ice.state.isFrozen).toBe(true);
    expect(a.take(1)).toBe(true);
    expect(a.wasFrozen).toBe(true); // So that thread thaws it.
    expect(b.isFrozen).toBe(false);
  });

  it('is undone by the freezer when a slot is taken meanwhile', () => {
    const [a, b] = cells(2) as [Cell, Cell];
    const ice = freezer(() => expect(b.take(1)).toBe(true));
    a.rest(performance.now() + 5000, 1000, ice);
    expect(b).toMatchObject({ wasFrozen: false, wasFreezing: true });
    expect(ice.state.isFrozen).toBe(false);
    expect(a.isFrozen).toBe(false);
  });

  it('is undone when the instance is drained meanwhile', () => {
    const [a, b] = cells(2) as [Cell, Cell];
    const ice = freezer(() => expect(b.drainIfIdle()).toBe(true));
    a.rest(performance.now() + 5000, 1000, ice);
    expect(ice.state.isFrozen).toBe(false);
    expect(a.has(DRAINING)).toBe(true);
  });

  it('never leaves a frozen instance with something in flight, under threads that take, release and freeze at random', async () => {
    const memory = sharedRows(4);
    const rows = new Rows(memory);
    const file = rows.open('the freezer file').at;
    const faults = rows.open('faults').at;
    const cell = new Cell(rows, 'one');
    const code = `
      const { workerData: { memory, url, file, faults, limit } } = require('node:worker_threads');
      Promise.all([import(url + 'rows.ts'), import(url + 'cell.ts')]).then(([{ Rows }, { Cell }]) => {
        const rows = new Rows(memory);
        const cell = new Cell(rows, 'one');
        const write = (state) => Atomics.store(rows.cells, file, state);
        const freezer = { freeze: () => (write(1), true), thaw: () => write(0) };
        let now = performance.now();
        for (let i = 0; i < 200000; i++) {
          now += 2;
          if (i % 3 === 0) cell.rest(now, 1, freezer);
          if (!cell.take(limit)) continue;
          if (cell.wasFrozen) freezer.thaw();
          // A freezer at work thaws it soon, since we hold a slot; nobody else may have frozen it.
          for (let spins = 0; Atomics.load(rows.cells, file) === 1; spins++) {
            if (spins > 1e7) { Atomics.add(rows.cells, faults, 1); break; }
          }
          if (cell.inFlight > limit) Atomics.add(rows.cells, faults, 1);
          cell.release(now - 10);
        }
      });`;
    const url = new URL('../../../gateway/slots/', import.meta.url).href;
    for (const limit of [1, 3]) {
      const workerData = { memory, url, file, faults, limit };
      const workers = [1, 2, 3].map(() => new Worker(code, { eval: true, workerData }));
      const codes = await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve))));
      expect(codes).toEqual([0, 0, 0]);
      expect(rows.cells[faults]).toBe(0);
      expect(cell.inFlight).toBe(0);
      expect(rows.cells[file]).toBe(cell.isFrozen ? 1 : 0);
    }
  });
});
