/** Runs every minute. What it prints shows up in `fn logs heartbeat`. */

const startedAt = Date.now();
let beats = 0;

export async function handler(event, context) {
  beats++;
  const beat = { beat: beats, schedule: event?.schedule, aliveMs: Date.now() - startedAt };
  console.log(`beat ${beats} of ${context.logStreamName}`);
  return beat;
}
