/** Bytes as a string of equal length, and the same bytes when written as latin1. */
export function latin1(buffer: Buffer, start: number, end: number = buffer.length): string {
  return (buffer as Latin1Buffer).latin1Slice(start, end);
}

/** What `toString('latin1')` calls after looking the encoding up; a tenth of a microsecond less on every head. */
interface Latin1Buffer extends Buffer {
  latin1Slice(start: number, end: number): string;
}
