interface Context {
  readonly job?: { readonly queue: string; readonly name: string; readonly id: string; readonly attempt: number };
}

// Called once for each job; the event is the job's data. What it returns is kept as the job's result. When it throws, the
// job is tried again after a while, `attempts` times in all.
export async function handler(event: unknown, context: Context): Promise<{ received: unknown }> {
  const { name, attempt } = context.job ?? { name: 'direct call', attempt: 1 };
  console.log(`job ${name}, attempt ${attempt}`);
  return { received: event };
}
