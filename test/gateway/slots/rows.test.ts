import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { Rows, sharedRows } from '../../../gateway/slots/rows.ts';

describe('the table of shared rows', () => {
  it('finds the row of a name for everyone who opens it', () => {
    const memory = sharedRows(4);
    const [one, other] = [new Rows(memory), new Rows(memory)];
    const { at, isNew } = one.open('a');
    expect(isNew).toBe(true);
    one.cells[at] = 7;
    expect(other.open('a')).toEqual({ at, isNew: false });
    expect(other.open('b').at).not.toBe(at);
    expect(other.cells[at]).toBe(7);
  });

  it('reuses a row, emptied, once everyone has closed it', () => {
    const rows = new Rows(sharedRows(1));
    const { at } = rows.open('a');
    rows.open('a');
    rows.cells[at] = 7;
    rows.close(at);
    expect(rows.open('b').at).not.toBe(at);
    rows.close(at);
    expect(rows.open('c')).toEqual({ at, isNew: true });
    expect(rows.cells[at]).toBe(0);
    expect(rows.open('a')).toMatchObject({ isNew: true });
  });

  it('keeps names apart that share a bucket, whichever goes first', () => {
    const rows = new Rows(sharedRows(1));
    const names = Array.from({ length: 40_000 }, (_, i) => `n${i}`);
    const open = new Map(names.map((name) => [name, rows.open(name).at]));
    for (const name of names.filter((_, i) => i % 3 === 0)) {
      rows.close(open.get(name)!);
      open.delete(name);
    }
    for (const [name, at] of open) {
      expect(rows.open(name)).toEqual({ at, isNew: false });
      rows.close(at);
    }
    expect(new Set(open.values()).size).toBe(open.size);
  });

  it('is bounded, and says so', () => {
    const rows = new Rows(sharedRows(1));
    for (let i = 0; i < 131_072; i++) rows.open(`n${i}`);
    expect(() => rows.open('one more')).toThrow(/131072/);
    expect(rows.open('n1').isNew).toBe(false);
  });

  it('stays whole when threads open and close at the same time', async () => {
    const memory = sharedRows(4);
    const module = new URL('../../../gateway/slots/rows.ts', import.meta.url).href;
    const code = `
      const { workerData } = require('node:worker_threads');
      import(workerData.module).then(({ Rows }) => {
        const rows = new Rows(workerData.memory);
        for (let i = 0; i < 20000; i++) {
          const opened = [i % 7, i % 11, i % 13].map((n) => rows.open('row ' + n).at);
          for (const at of opened) Atomics.add(rows.cells, at, 1);
          for (const at of opened) Atomics.sub(rows.cells, at, 1);
          for (const at of opened) rows.close(at);
        }
      });`;
    const workers = [1, 2, 3].map(() => new Worker(code, { eval: true, workerData: { memory, module } }));
    const codes = await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve))));
    expect(codes).toEqual([0, 0, 0]);
    const rows = new Rows(memory);
    for (let n = 0; n < 13; n++) expect(rows.open(`row ${n}`).isNew).toBe(true);
  });
});
