/** What the processes of a benchmark may see of the environment: nothing that makes one start slower than another. */

export function cleanEnvironment(): Record<string, string> {
  const { PATH = '/usr/local/bin:/usr/bin:/bin', HOME = '/root' } = process.env;
  return { PATH: `${PATH}:/usr/sbin:/sbin`, HOME };
}
