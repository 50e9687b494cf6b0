/** The graph of an overload run as SVG: goodput on the left axis and the 99th percentile on the right one, over the rate that
 *  was offered. Hand-made, since it is two lines and needs to be readable on light and dark pages. */

export interface OverloadPoint {
  /** Requests a second. */
  readonly offered: number;
  /** Answered 200, a second. */
  readonly goodput: number;
  /** Of those that were answered 200, ms. */
  readonly p99: number;
}

const [WIDTH, HEIGHT] = [720, 360];
const PLOT = { left: 70, right: 650, top: 40, bottom: 300 };
const [GOODPUT, LATENCY, GRID] = ['#2a78d6', '#c2571a', '#8884'];
const TICKS = 5;

export function overloadGraph(points: readonly OverloadPoint[], capacity: number): string {
  const most = niceTop(Math.max(...points.map(({ offered }) => offered)));
  const high = niceTop(Math.max(capacity, ...points.map(({ goodput }) => goodput)));
  const slow = niceTop(Math.max(...points.map(({ p99 }) => p99)));
  const x = (rate: number): number => PLOT.left + (rate / most) * (PLOT.right - PLOT.left);
  const y = (share: number): number => PLOT.bottom - share * (PLOT.bottom - PLOT.top);
  const line = (colour: string, share: (point: OverloadPoint) => number): string => {
    const path = points.map((point) => `${x(point.offered).toFixed(1)},${y(share(point)).toFixed(1)}`);
    const dots = path.map(
      (at) => `<circle cx="${at.split(',')[0]}" cy="${at.split(',')[1]}" r="3.5" fill="${colour}"/>`,
    );
    return `<polyline points="${path.join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>${dots.join('')}`;
  };
  const grid = Array.from({ length: TICKS + 1 }, (_, index) => {
    const share = index / TICKS;
    const at = y(share).toFixed(1);
    return [
      `<line x1="${PLOT.left}" y1="${at}" x2="${PLOT.right}" y2="${at}" stroke="${GRID}"/>`,
      text(PLOT.left - 8, y(share) + 4, 'end', GOODPUT, round(high * share)),
      text(PLOT.right + 8, y(share) + 4, 'start', LATENCY, round(slow * share)),
      text(x(most * share), PLOT.bottom + 20, 'middle', 'currentColor', round(most * share)),
    ].join('');
  });
  const full = y(capacity / high).toFixed(1);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" color="#888">
<title>Goodput and 99th percentile over the offered rate</title>
${grid.join('\n')}
<line x1="${PLOT.left}" y1="${full}" x2="${PLOT.right}" y2="${full}" stroke="${GOODPUT}" stroke-dasharray="5 4"/>
${line(GOODPUT, ({ goodput }) => goodput / high)}
${line(LATENCY, ({ p99 }) => p99 / slow)}
${text(PLOT.left, 20, 'start', GOODPUT, 'goodput, requests/s (dashed: capacity)')}
${text(PLOT.right, 20, 'end', LATENCY, 'p99 of accepted requests, ms')}
${text((PLOT.left + PLOT.right) / 2, HEIGHT - 15, 'middle', 'currentColor', 'offered, requests/s')}
</svg>
`;
}

function text(x: number, y: number, anchor: string, colour: string, content: string): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" fill="${colour}">${content}</text>`;
}

/** The next of 1, 2, 2.5 and 5 times a power of ten. */
function niceTop(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 2.5, 5, 10].find((step) => step * power >= value) ?? 10);
}

function round(value: number): string {
  return String(Number(value.toPrecision(3)));
}
