/** Whether systemd has delegated a group: it then sets an extended attribute on the group's directory, `trusted.delegate`
 *  for root to see and, since version 251, `user.delegate` for everyone. Node reads no extended attributes. */

import koffi from 'koffi';

const getxattr = koffi
  .load(null)
  .func('long getxattr(const char *path, const char *name, _Out_ uint8_t *value, size_t size)');

export function isDelegated(dir: string): boolean {
  return ['trusted.delegate', 'user.delegate'].some((name) => {
    const value = Buffer.alloc(8);
    const length = getxattr(dir, name, value, value.length) as number;
    return length > 0 && value.toString('latin1', 0, length) === '1';
  });
}
