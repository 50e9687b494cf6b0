/** Counts the words of a text. The event is the data of a job of the queue `texts`; the result becomes the job's. */

const WORD = /[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*/gu;
const MOST_FREQUENT = 10;

export async function handler(event, context) {
  if (typeof event?.text !== 'string') throw new TypeError('the job needs a "text"');
  const counts = new Map();
  let words = 0;
  for (const [word] of event.text.toLowerCase().matchAll(WORD)) {
    counts.set(word, (counts.get(word) ?? 0) + 1);
    words++;
  }
  console.log(`job ${context.job?.id ?? '-'}, attempt ${context.job?.attempt ?? 1}: ${words} words`);
  const top = [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).slice(0, MOST_FREQUENT);
  return { words, different: counts.size, top: Object.fromEntries(top) };
}
