// Called once for each job; the event is the job's data. What it returns is kept as the job's result. When it throws, the
// job is tried again after a while, `attempts` times in all.
export async function handler(event, context) {
  const { name, attempt } = context.job ?? { name: 'direct call', attempt: 1 };
  console.log(`job ${name}, attempt ${attempt}`);
  return { received: event };
}
