/** The one rule for symbolic links, for writing and for unpacking: a target is any number of `..` and then names, and does
 *  not climb above the root. `..` after a name is refused, since that name may itself be a link: two harmless-looking links
 *  in a row left the root that way (CVE-2026-26960). With this rule no chain of links leaves it. */

/** @param path of the link, relative to the root. An absolute target is outside: see `relativeTarget`. */
export function linkStaysInside(path: string, target: string): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0')) return false;
  const parts = target.split('/').filter((part) => part !== '' && part !== '.');
  const climbs = parts.findIndex((part) => part !== '..');
  const ups = climbs === -1 ? parts.length : climbs;
  return ups <= path.split('/').length - 1 && !parts.includes('..', ups);
}

/** In an image `/usr/bin/x` means the image's own; written relative to the link it means the same from everywhere. */
export function relativeTarget(path: string, target: string): string {
  if (!target.startsWith('/')) return target;
  const ups = '../'.repeat(path.split('/').length - 1);
  return `${ups}${target.replace(/^\/+/, '')}` || '.';
}
